def test_small(small_run):
    pass
