#pragma once

// The executor's precompiled header: what nearly every file of it includes, and costs twenty
// seconds to read.
#include <ATen/ATen.h>
