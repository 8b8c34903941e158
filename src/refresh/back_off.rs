//! How long nobody tries to refresh a row again after a failure.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(30);

/// Returns the pause after a failure that `failures` others came before. It is different each time, so that rows that
/// failed together aren't all tried again together.
pub(super) fn back_off(failures: u32) -> Duration {
    let pause = FIRST
        .saturating_mul(2_u32.saturating_pow(failures))
        .min(LONGEST);
    pause.mul_f64(rand::random_range(0.5..1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pause_is_longer_up_to_a_bound() {
        for (failures, longest) in [
            (0, 200),
            (1, 400),
            (5, 6_400),
            (9, 30_000),
            (u32::MAX, 30_000),
        ] {
            let longest = Duration::from_millis(longest);
            let pauses: Vec<_> = (0..50).map(|_| back_off(failures)).collect();
            assert!(
                pauses
                    .iter()
                    .all(|&pause| pause >= longest / 2 && pause <= longest)
            );
            assert!(pauses.iter().max() > pauses.iter().min());
        }
    }
}
