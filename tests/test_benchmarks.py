"What the benchmarks compare is the same quantity, and their tables say rightly what is met. Nothing is timed here."
import pytest, torch

@pytest.fixture
def losses(load_benchmark): return load_benchmark('losses')

@pytest.fixture
def measuring(load_benchmark): return load_benchmark('measuring')

def test_naive_code_is_the_same_loss(losses):
    "Value and gradient of ours and of the naive code, for each mini-batch of at most 256 rows"
    rows = [o for o in losses.mini_batches() if o.name.split(', ')[1].startswith(('64', '256'))]
    assert len(rows) == 14 + 6
    for row in rows:
        work = row.make()
        (_,value,gradient),(_,other,theirs) = work['ours'].run(),work['naive'].run()
        assert value == pytest.approx(other, abs=1e-6), row.name
        torch.testing.assert_close(gradient, theirs, rtol=1e-3, atol=1e-5*theirs.abs().max().item(), msg=row.name)

def test_naive_aum_of_given_scores(losses):
    for average in ('micro', 'macro'):
        work = losses.aum_work(average, 60, 4)
        found = {name:work[name].run()[1] for name in ('ours', 'naive', 'lean')}
        assert found['naive'] == pytest.approx(found['ours'], abs=1e-6) and found['lean'] == pytest.approx(found['ours'], abs=1e-6)

def test_gradients_are_cleared(losses):
    work = losses.module_work('AUM', 64, 2)['ours']
    first = work.run()[2]
    assert torch.equal(work.run()[2], first)

def test_verdict_of_losses(losses):
    took = {'cross-entropy':[3., 1.], 'naive':[2., 4.]}  # ours and the reference
    assert losses.verdict(took, {}) == ('–', '–')
    assert losses.verdict(took, {'cross-entropy':3, 'naive':1/2}) == ('≤ 3 × cross-entropy, ≤ 1/2 × naive', 'met')
    assert losses.verdict(took, {'cross-entropy':2, 'naive':1/4})[1] == 'cross-entropy 50% over; naive 100% over'
    assert losses.verdict({'ours':[.2, .2]}, {'time':.1}) == ('≤ 100 ms', 'time 100% over')

def test_figures_to_reach(losses):
    "Every figure that is asked for names a reference that its row has"
    for row in losses.mini_batches(): assert set(row.most) <= set(row.make()), row.name

@pytest.mark.parametrize('x,text', [(12., '12 ×'), (4.56, '4.6 ×'), (1.5, '1.50 ×'), (.5, '0.50 ×'), (1/4, '1/4.0 ×'), (1/29.4, '1/29 ×')])
def test_multiple(measuring, x, text): assert measuring.multiple(x) == text

def test_tables(measuring):
    assert measuring.table(['a', 'b'], [[1, 2]]) == '| a | b |\n| --- | --- |\n| 1 | 2 |\n'
    assert [measuring.seconds(t) for t in (2., .0123, 4.5e-5)] == ['2.00 s', '12.3 ms', '45.0 µs']
    assert [measuring.factor(x) for x in (1, 2.5, 1/3)] == ['1 ×', '2.5 ×', '1/3 ×']
