//! What clients may make the daemon hold: checks against the limits for each user and for all users.

use std::collections::BTreeMap;

use crate::config::Limit;
use crate::protocol::{LimitUse, OverLimit, Resource, Scope, UserUse};

/// Whether user `uid` may have `asked` more of a resource. `used` lists what users have now.
pub(super) fn admit(
    resource: Resource,
    limit: Limit,
    used: impl IntoIterator<Item = (u32, u64)>,
    uid: u32,
    asked: u64,
) -> Result<(), OverLimit> {
    let (mut own, mut total) = (0_u64, 0_u64);
    for (user, amount) in used {
        total = total.saturating_add(amount);
        if user == uid {
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
        let sum = users.entry(uid).or_default();
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
}
