//! What clients may make the daemon hold: checks against the limits for each user and for all users.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::sync::OnceLock;

use nix::unistd::User;

use crate::config::Limit;
use crate::protocol::{LimitUse, OverLimit, Resource, Scope, UserUse};

/// Ids that users may take in user namespaces (subuid(5)), and whose they are.
static SUBORDINATE_IDS: OnceLock<Vec<(Range<u32>, u32)>> = OnceLock::new();

/// Reads which user owns each subordinate id. Their use counts toward that user, who could otherwise exceed the limits of a user.
pub(super) fn read_subordinate_ids() {
    SUBORDINATE_IDS.get_or_init(|| subordinate_ids(&fs::read_to_string("/etc/subuid").unwrap_or_default()));
}

/// The ranges of a file, whose lines are `USER:FIRST:COUNT`.
fn subordinate_ids(text: &str) -> Vec<(Range<u32>, u32)> {
    let range = |line: &str| {
        let mut fields = line.trim().split(':');
        let user = fields.next()?;
        let mut number = || fields.next()?.parse::<u32>().ok();
        let (first, count) = (number()?, number()?);
        let named = || Some(User::from_name(user).ok()??.uid.as_raw());
        Some((first..first.saturating_add(count), user.parse().ok().or_else(named)?))
    };
    text.lines().filter_map(range).collect()
}

/// The user that a resource of `uid` is charged to: for a subordinate id, its owner.
fn payer(uid: u32) -> u32 {
    let mut ranges = SUBORDINATE_IDS.get().into_iter().flatten();
    ranges.find(|(range, _)| range.contains(&uid)).map_or(uid, |(_, payer)| *payer)
}

/// Whether user `uid` may have `asked` more of a resource. `used` lists what users have now.
pub(super) fn admit(
    resource: Resource,
    limit: Limit,
    used: impl IntoIterator<Item = (u32, u64)>,
    uid: u32,
    asked: u64,
) -> Result<(), OverLimit> {
    let (mut own, mut total) = (0_u64, 0_u64);
    let uid = payer(uid);
    for (user, amount) in used {
        total = total.saturating_add(amount);
        if payer(user) == uid {
            own = own.saturating_add(amount);
        }
    }
    for (scope, limit, used) in
        [(Scope::User { uid }, limit.per_user, own), (Scope::Total, limit.total, total)]
    {
        if used.saturating_add(asked) > limit {
            return Err(OverLimit { resource, scope, limit, used, asked });
        }
    }
    Ok(())
}

/// The use of a resource, for a status and for metrics.
pub(super) fn usage(
    resource: Resource,
    limit: Limit,
    used: impl IntoIterator<Item = (u32, u64)>,
) -> LimitUse {
    let mut users = BTreeMap::<u32, u64>::new();
    let mut total = 0_u64;
    for (uid, amount) in used {
        total = total.saturating_add(amount);
        let sum = users.entry(payer(uid)).or_default();
        *sum = sum.saturating_add(amount);
    }
    let most = users.into_iter().max_by_key(|(_, used)| *used).map(|(uid, used)| UserUse { uid, used });
    LimitUse { resource, used: total, limit: limit.total, limit_per_user: limit.per_user, most }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_user_and_all_users_together_are_held_to_their_limit() {
        let limit = Limit { total: 10, per_user: 6 };
        let used = [(1, 3), (2, 4), (1, 2)];
        let admit = |uid, asked| admit(Resource::Channels, limit, used, uid, asked);
        assert_eq!(admit(1, 1), Ok(()));
        let over = admit(1, 2).unwrap_err();
        assert_eq!((over.scope, over.limit, over.used), (Scope::User { uid: 1 }, 6, 5));
        assert_eq!(admit(3, 1), Ok(()));
        let over = admit(3, 2).unwrap_err();
        assert_eq!((over.scope, over.limit, over.used, over.asked), (Scope::Total, 10, 9, 2));
        assert!(admit(3, u64::MAX).is_err(), "no sum wraps around");
        let usage = usage(Resource::Channels, limit, used);
        assert_eq!((usage.used, usage.most), (9, Some(UserUse { uid: 1, used: 5 })));
    }

    #[test]
    fn the_ids_of_a_users_namespaces_count_for_that_user() {
        let text =
            "70001:4000100000:65536\nroot:4000200000:10\nno such user:1:2\n70002:4000300000\n70003:x:1\n";
        SUBORDINATE_IDS.get_or_init(|| subordinate_ids(text));
        let limit = Limit { total: 10, per_user: 6 };
        let used = [(70_001, 2), (4_000_100_000, 2), (4_000_165_535, 2), (4_000_165_536, 1)];
        let over = admit(Resource::Connections, limit, used, 4_000_100_007, 1).unwrap_err();
        assert_eq!((over.scope, over.used), (Scope::User { uid: 70_001 }, 6));
        assert_eq!(admit(Resource::Connections, limit, used, 4_000_165_536, 3), Ok(()));
        assert_eq!(
            [4_000_200_009, 4_000_200_010, 4_000_300_000].map(payer),
            [0, 4_000_200_010, 4_000_300_000]
        );
        let usage = usage(Resource::Connections, limit, used);
        assert_eq!(usage.most, Some(UserUse { uid: 70_001, used: 6 }));
    }
}
