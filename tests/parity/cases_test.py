"""Tests of the sets of parity cases, in Python's own unittest."""
import unittest

import cases


class Cases(unittest.TestCase):
    def test_the_full_matrix_has_every_choice(self):
        full = cases.all_cases()
        self.assertEqual(len(full), len(set(full)))
        self.assertEqual({case.strategy for case in full}, set(cases.STRATEGIES))
        self.assertEqual({case.mesh for case in full}, set(cases.MESHES))
        # Four strategies on five meshes, three of which have sequence parallelism on and off, and the hybrids on two.
        self.assertEqual(len(full), (4 * 8 + 2 * 3) * 3 * 2 * 4 * 2)

    def test_only_hybrids_replicate_shards(self):
        for case in cases.all_cases():
            self.assertEqual(case.is_hybrid, 1 < case.dp_replicate < case.dp, case.name)
            self.assertTrue(case.tp > 1 or not case.sequence_parallel, case.name)

    def test_the_set_of_ci_has_every_pair_in_60_different_cases(self):
        of_ci = cases.cases_of_ci()
        self.assertEqual((len(of_ci), len(set(of_ci))), (60, 60))
        self.assertLessEqual({case.dtype for case in of_ci}, {"float32", "bfloat16"})
        pairs = set().union(*(cases.tuples_of(case, 2) for case in of_ci if case.dtype == "float32"))
        self.assertEqual(pairs, set().union(*(cases.tuples_of(case, 2) for case in cases.all_cases())))
        choices = set().union(*(cases.tuples_of(case, 1) for case in of_ci if case.dtype == "bfloat16"))
        self.assertEqual(choices, set().union(*(cases.tuples_of(case, 1) for case in cases.all_cases("bfloat16"))))

    def test_what_widens_the_set_of_ci_needs_no_further_training_of_the_peer(self):
        pairs = cases.covering_set(cases.all_cases(), 2)
        of_ci = [case for case in cases.cases_of_ci() if case.dtype == "float32"]
        self.assertEqual({case.reference for case in of_ci}, {case.reference for case in pairs})

    def test_a_reference_has_the_mesh_of_its_cases_but_for_qwen3(self):
        for case in cases.all_cases():
            self.assertEqual(case.reference.dp, case.dp)
            self.assertEqual(case.reference.tp, 1 if case.family == "qwen3" else case.tp)


if __name__ == "__main__":
    unittest.main()
