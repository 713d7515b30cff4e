from seppo.core.incidents import Incidents


def test_losses_are_counted_by_item_until_it_is_given_up():
    incidents = Incidents()
    assert [incidents.count_loss(3), incidents.count_loss(3), incidents.count_loss(4)] == [1, 2, 1]
    assert incidents.give_up(3) == 2
    assert incidents.give_up(3) == 0
    assert incidents.losses == {4: 1}


def test_only_items_that_are_known_to_kill_are_guilty():
    incidents = Incidents()
    incidents.count_loss(3)
    incidents.give_up(3, is_guilty=True)
    incidents.give_up(5)
    assert incidents.n_guilty == 1


def test_a_result_clears_its_item_of_everything_but_that_it_was_copied():
    incidents = Incidents()
    for index in (1, 2):
        incidents.count_loss(index)
        incidents.count_mishap(index)
        incidents.count_move(index)
    incidents.count_copy(1, 2)
    incidents.forget(0, 2)
    assert incidents.losses == incidents.mishaps == incidents.moves == {2: 1}
    assert 1 in incidents.copied
    assert incidents
    incidents.forget(2, 3)
    assert not incidents


def test_moves_and_mishaps_are_counted_by_item():
    incidents = Incidents()
    incidents.count_move(7)
    incidents.count_move(7)
    assert incidents.moves == {7: 2}
    assert [incidents.count_mishap(7), incidents.count_mishap(7), incidents.count_mishap(8)] == [
        1,
        2,
        1,
    ]


def test_workers_that_are_lost_before_any_item_ran_count_until_a_result_comes():
    incidents = Incidents()
    assert [incidents.count_unready(), incidents.count_unready()] == [1, 2]
    incidents.forget(0, 1)
    assert incidents.count_unready() == 1
