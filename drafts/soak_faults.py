"""Thirty kills at random moments: belongs into tests/parallel/test_faults.py once it has run."""

@pytest.mark.soak
@pytest.mark.timeout(1500)
def test_thirty_kills_at_random_moments(tmp_path):
    """An error within the timeout each time, never a hang, never a broken checkpoint."""
    killer, starts = Killer(30, seed=0), 0
    killer.start()
    results, steps = None, 400
    while results is None:
        begun = time.monotonic()
        try:
            job = (str(tmp_path), 2, "flat", steps, 5)
            results = launch(fault_work.train_saving, *job, world_size=2, timeout=60)
            if killer.left:  # it was done before all the kills: go on
                results, steps = None, steps + 200
        except ParallelError:
            starts += 1
        assert time.monotonic() - begun < 60 + 15
        assert all(whole(path) for path in complete(tmp_path))
    assert starts > 0
    print(json.dumps({"kills": 30, "failed starts": starts, "steps": steps}))
    calm = launch(fault_work.train_saving, str(tmp_path / "calm"), 2, "flat", steps, steps)
    assert all(torch.equal(calm[0][1][name], t) for name, t in results[0][1].items())
