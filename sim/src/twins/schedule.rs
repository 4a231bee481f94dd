//! Which schedules there are, and which number each has.
//!
//! A replica is a place on the stage: validators have theirs in the order of their indices, the second replica of each
//! twinned key follows. In a round, two places hear each other if one of the round's two groups holds both: the groups
//! may overlap, and whoever is in both is a bridge. Leaders are the product's own (L1, L2): whom the leader of a round
//! reaches is what a schedule decides, and which of the four keys is twinned takes each place in the rotation.
//!
//! **Enumerated** (even numbers below twice [`SPACE`]): four validators, one twinned, [`SCENES`] scenes of [`LENGTH`]
//! rounds each. In a scene, either the twins are apart, and each of the three others hears the one, the other, or both (27
//! ways); or they are together, and hear two of the others, all of them, or nobody (5 ways). Exchanging the twins gives the
//! same schedule again: the scene that first tells them apart is taken one way round only.
//!
//! **Drawn** (all others): ten scenes of one round each, for four validators and for seven with one or two twinned, any
//! two groups, with uneven delays, so that messages overtake each other.

use std::fmt;

use crate::rng::Rng;

/// Scenes of an enumerated schedule.
pub const SCENES: usize = 3;
/// Rounds of each.
pub const LENGTH: u64 = 3;
/// Ways to tell twins apart: each of three others hears one, the other, or both.
const APART: u64 = 27;
/// All scenes of four.
const KINDS: u64 = APART + 5;
/// Enumerated schedules, for each choice of the twinned key and each sequence of scenes; mirror images included.
pub const SPACE: u64 = 4 * KINDS * KINDS * KINDS;
/// Coprime to [`SPACE`], a power of two: neighbouring numbers are far apart in what they do.
const STRIDE: u64 = 40_503;

const _: () = assert!(SPACE.is_power_of_two() && STRIDE % 2 == 1, "a bijection");

/// Who hears whom, for some rounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scene {
    /// Two sets of places, as bits.
    pub groups: [u16; 2],
}

impl Scene {
    /// Whether two places hear each other.
    #[must_use]
    pub fn joins(&self, a: usize, b: usize) -> bool {
        let pair = (1 << a) | (1 << b);
        self.groups.iter().any(|group| group & pair == pair)
    }
}

/// What is played.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Validators.
    pub n: usize,
    /// Those whose key is on two replicas; the second ones have the places from `n` on.
    pub twinned: Vec<usize>,
    /// One after the other.
    pub scenes: Vec<Scene>,
    /// Rounds that each takes.
    pub length: u64,
    /// Chance in delays; `None` for even ones.
    pub seed: Option<u64>,
}

impl Schedule {
    /// The schedule of a number.
    #[must_use]
    pub fn number(number: u64) -> Schedule {
        match number < 2 * SPACE && number.is_multiple_of(2) {
            true => Schedule::enumerated(number / 2),
            false => Schedule::drawn(number),
        }
    }

    fn enumerated(number: u64) -> Schedule {
        let mut rest = number.wrapping_mul(STRIDE) % SPACE;
        let mut digit = |base: u64| {
            let digit = rest % base;
            rest /= base;
            digit
        };
        let twin = usize::try_from(digit(4)).expect("small");
        let kinds: Vec<u64> = (0..SCENES).map(|_| digit(KINDS)).collect();
        // The mirror image of a schedule is the same schedule: played one way round.
        let mirrored = kinds.iter().map(|kind| (*kind, mirror(*kind)));
        let mirrored = mirrored
            .map(|(kind, other)| kind.cmp(&other))
            .find(|o| o.is_ne());
        let turn = mirrored == Some(std::cmp::Ordering::Greater);
        let scene = |kind: &u64| four(twin, if turn { mirror(*kind) } else { *kind });
        Schedule {
            n: 4,
            twinned: vec![twin],
            scenes: kinds.iter().map(scene).collect(),
            length: LENGTH,
            seed: None,
        }
    }

    fn drawn(number: u64) -> Schedule {
        let mut rng = Rng::new(number);
        let n = rng.pick(&[4, 7]);
        let mut all: Vec<usize> = (0..n).collect();
        rng.shuffle(&mut all);
        let count = if n == 7 { 1 + rng.index(2) } else { 1 };
        let twinned: Vec<usize> = all[..count].to_vec();
        let places = n + count;
        // Overlaps are rarer the more there are to draw: few bridges are worth more than none or many.
        let scenes = (0..10).map(|_| {
            let bridge = rng.pick(&[0, 100, 300]);
            let mut groups = [0, 0];
            for place in 0..places {
                let side = rng.index(2);
                let both = rng.chance(bridge);
                for (group, bits) in groups.iter_mut().enumerate() {
                    *bits |= u16::from(both || group == side) << place;
                }
            }
            Scene { groups }
        });
        Schedule {
            n,
            scenes: scenes.collect(),
            twinned,
            length: 1,
            seed: Some(number),
        }
    }

    /// Places on the stage.
    #[must_use]
    pub fn places(&self) -> usize {
        self.n + self.twinned.len()
    }

    /// The validator that a place plays.
    #[must_use]
    pub fn plays(&self, place: usize) -> usize {
        match place.checked_sub(self.n) {
            None => place,
            Some(twin) => self.twinned[twin],
        }
    }

    /// Who hears whom in a round; `None` once everybody hears everybody.
    #[must_use]
    pub fn scene(&self, round: u64) -> Option<&Scene> {
        let place = round.saturating_sub(1) / self.length;
        self.scenes.get(usize::try_from(place).ok()?)
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  {} validators, twinned {:?}", self.n, self.twinned)?;
        for (place, scene) in self.scenes.iter().enumerate() {
            let name = |of: usize| match of < self.n {
                true => format!("v{of}"),
                false => format!("v{}'", self.plays(of)),
            };
            let group = |bits: u16| -> String {
                let inside = (0..self.places()).filter(|of| bits & (1 << of) != 0);
                inside.map(name).collect::<Vec<_>>().join(" ")
            };
            let first = u64::try_from(place).unwrap_or(0) * self.length + 1;
            let [one, other] = scene.groups.map(group);
            writeln!(f, "  from round {first}: {{{one}}} {{{other}}}")?;
        }
        Ok(())
    }
}

/// A scene of four validators with `twin` on two replicas.
fn four(twin: usize, kind: u64) -> Scene {
    let (first, second) = (1u16 << twin, 1u16 << 4);
    let others: Vec<u16> = (0..4).filter(|i| *i != twin).map(|i| 1 << i).collect();
    let all: u16 = others.iter().sum();
    if kind >= APART {
        let together = first | second;
        let groups = match kind - APART {
            3 => [together | all, 0],
            4 => [together, all],
            lone => {
                let lone = others[usize::try_from(lone).expect("below 3")];
                [together | (all & !lone), lone]
            }
        };
        return Scene { groups };
    }
    let mut groups = [first, second];
    let mut rest = kind;
    for other in others {
        match rest % 3 {
            0 => groups[0] |= other,
            1 => groups[1] |= other,
            _ => groups = groups.map(|group| group | other),
        }
        rest /= 3;
    }
    Scene { groups }
}

/// The kind of the scene with the twins exchanged.
fn mirror(kind: u64) -> u64 {
    if kind >= APART {
        return kind;
    }
    let swapped = |digit: u64| [1, 0, 2][usize::try_from(digit).expect("below 3")];
    swapped(kind % 3) + 3 * swapped(kind / 3 % 3) + 9 * swapped(kind / 9)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_schedule_of_four_has_a_number_and_mirror_images_share_theirs() {
        let mut seen = BTreeSet::new();
        for number in 0..SPACE {
            let schedule = Schedule::enumerated(number);
            let groups: Vec<_> = schedule.scenes.iter().map(|scene| scene.groups).collect();
            seen.insert((schedule.twinned.clone(), groups));
        }
        // Of the sequences of 32 kinds, those of the 6 that are their own mirror image have none; the others have one.
        assert_eq!(seen.len(), 4 * (32usize.pow(3) + 6usize.pow(3)) / 2);
    }

    #[test]
    fn beyond_what_is_enumerated_all_are_drawn() {
        let drawn = |number| Schedule::number(number).seed == Some(number);
        assert!(!drawn(2 * SPACE - 2) && drawn(2 * SPACE) && drawn(2 * SPACE - 1));
    }

    #[test]
    fn groups_join_whom_they_hold() {
        let scene = four(1, 2);
        assert!(scene.joins(1, 0) && scene.joins(4, 0), "0 is the bridge");
        assert!(!scene.joins(1, 4) && scene.joins(1, 2) && !scene.joins(4, 3));
        assert_eq!(four(1, mirror(5)).groups.map(|g| g & 0b01101), {
            let [one, other] = four(1, 5).groups;
            [other & 0b01101, one & 0b01101]
        });
    }

    #[test]
    fn drawn_schedules_are_of_both_sizes_with_one_and_two_twins() {
        let kinds: BTreeSet<_> = (0..100)
            .map(|k| Schedule::number(2 * k + 1))
            .map(|schedule| (schedule.n, schedule.twinned.len()))
            .collect();
        assert_eq!(
            kinds.into_iter().collect::<Vec<_>>(),
            [(4, 1), (7, 1), (7, 2)]
        );
    }
}
