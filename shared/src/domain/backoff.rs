//! How long to wait before a retry, and how periodic work of many tenants is spread over time.

use std::time::Duration;

use super::ids::TenantId;

/// The wait after so many failures in a row: `first` after one, doubled with each further one, at most `longest`.
pub fn exponential(first: Duration, failures: u32, longest: Duration) -> Duration {
    first.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1))).min(longest)
}

/// A time below an eighth of `period` that never changes for a tenant, so that what is periodic spreads out.
pub fn jitter(tenant: TenantId, period: Duration) -> Duration {
    let bytes = tenant.as_bytes();
    let fraction = u32::from(u16::from_be_bytes([bytes[0], bytes[1]]));
    period / 8 * fraction / 65_536
}

/// A time below `range` that every process draws alike from `key` and `salt`. With a salt that changes each time, those
/// whose draws are alike once do not march in step for ever.
pub fn spread(key: &[u8], salt: u64, range: Duration) -> Duration {
    // FNV-1a
    let seed = key.iter().fold(salt, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    range * u32::try_from(splitmix(seed) % 1000).unwrap_or_default() / 1000
}

/// Splitmix64's finalizer: every bit of the result depends on every bit of the seed.
const fn splitmix(seed: u64) -> u64 {
    let mixed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_from_the_first_to_the_longest() {
        let wait = |failures| exponential(Duration::from_secs(5), failures, Duration::from_secs(60)).as_secs();
        assert_eq!([0, 1, 2, 3, 4, 5, u32::MAX].map(wait), [5, 5, 10, 20, 40, 60, 60]);
    }

    #[test]
    fn a_jitter_stays_within_an_eighth_and_spreads() {
        let day = Duration::from_secs(86_400);
        let spread: Vec<_> = (0..100).map(|_| jitter(TenantId::random(), day)).collect();
        assert!(spread.iter().all(|jitter| *jitter < day / 8));
        assert!(spread.iter().max() > spread.iter().min());
    }
}
