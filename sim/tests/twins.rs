//! Five thousand schedules of twins, and what makes them worth anything: that twins contradict themselves in most of
//! them, that they are caught at it, and that the same number is the same play.

use quorate_sim::twins::stage::Cast;
use quorate_sim::twins::{play, play_all};

#[test]
fn five_thousand_schedules() {
    let tally = match play_all(0..5_000, 2, || {}) {
        Ok(tally) => tally,
        Err(failure) => panic!("{failure}"),
    };
    println!("{tally}");
    assert_eq!(tally.schedules, 5_000);
    // Most blocks become final under a partition, in most plays a twin signs contradictions, and others notice.
    assert!(2 * tally.early > tally.blocks, "{tally}");
    assert!(2 * tally.two_faced > tally.schedules, "{tally}");
    assert!(tally.evidence > tally.contradictions, "{tally}");
    assert!(tally.abandoned > tally.schedules, "{tally}");
    assert!(
        tally.timeouts > tally.schedules && tally.withheld > 0,
        "{tally}"
    );
}

#[test]
fn a_schedule_is_the_same_play_each_time() {
    let cast = Cast::new();
    for number in [6, 7, 11] {
        assert_eq!(play(&cast, number).unwrap(), play(&cast, number).unwrap());
    }
}
