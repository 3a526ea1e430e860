//! What clients make a daemon hold, held against what they may.

use std::collections::BTreeMap;

use crate::config::Limit;
use crate::protocol::{LimitUse, OverLimit, Resource, Scope, UserUse};

/// How much of something each user has.
#[derive(Debug, Default)]
pub(super) struct Used(BTreeMap<u32, u64>);

impl FromIterator<(u32, u64)> for Used {
    /// Adds up amounts by user.
    fn from_iter<T: IntoIterator<Item = (u32, u64)>>(amounts: T) -> Self {
        let mut used = Self::default();
        for (uid, amount) in amounts {
            let sum = used.0.entry(uid).or_default();
            *sum = sum.saturating_add(amount);
        }
        used
    }
}

impl Used {
    fn total(&self) -> u64 {
        self.0.values().fold(0, |sum, amount| sum.saturating_add(*amount))
    }

    /// Whether user `uid` may have `asked` more.
    pub(super) fn admit(
        &self,
        resource: Resource,
        limit: Limit,
        uid: u32,
        asked: u64,
    ) -> Result<(), OverLimit> {
        let own = self.0.get(&uid).copied().unwrap_or(0);
        let each = [(Scope::User { uid }, limit.per_user, own), (Scope::Total, limit.total, self.total())];
        match each.into_iter().find(|(_, limit, used)| used.saturating_add(asked) > *limit) {
            Some((scope, limit, used)) => Err(OverLimit { resource, scope, limit, used, asked }),
            None => Ok(()),
        }
    }

    /// What a status tells of it.
    pub(super) fn tell(&self, resource: Resource, limit: Limit) -> LimitUse {
        let most = self.0.iter().max_by_key(|(_, used)| **used);
        LimitUse {
            resource,
            used: self.total(),
            limit: limit.total,
            limit_per_user: limit.per_user,
            most: most.map(|(uid, used)| UserUse { uid: *uid, used: *used }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_user_and_all_together_are_held_to_their_limit() {
        let limit = Limit { total: 10, per_user: 6 };
        let used: Used = [(1, 3), (2, 4), (1, 2)].into_iter().collect();
        let admit = |uid, asked| used.admit(Resource::Channels, limit, uid, asked);
        assert_eq!(admit(1, 1), Ok(()));
        let over = admit(1, 2).unwrap_err();
        assert_eq!((over.scope, over.limit, over.used), (Scope::User { uid: 1 }, 6, 5));
        assert_eq!(admit(3, 1), Ok(()));
        let over = admit(3, 2).unwrap_err();
        assert_eq!((over.scope, over.limit, over.used, over.asked), (Scope::Total, 10, 9, 2));
        assert!(admit(3, u64::MAX).is_err(), "no sum wraps around");
        let told = used.tell(Resource::Channels, limit);
        assert_eq!((told.used, told.most), (9, Some(UserUse { uid: 1, used: 5 })));
    }
}
