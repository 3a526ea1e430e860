//! Any message that client, daemon and responder can say to each other.

use ipcd::internals::protocol::{
    ChannelSpec, ChannelStatus, Confinement, End, Event, LimitUse, MethodState, OverLimit, Refusal, Reply,
    Request, Resource, Scope, Status, Throttling, Token, Totals, Unavailable, Usage, UserUse, Wait,
};
use ipcd::internals::transports::{Announcement, Assignment, Grant, Owner};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

/// Words of any alphabet, the empty one too. Control characters are escaped when a reply is decoded.
fn text() -> BoxedStrategy<String> {
    prop_oneof!["\\PC{0,12}", "x{1,3}"].boxed()
}

fn spec() -> impl Strategy<Value = ChannelSpec> {
    let wait = option::of(select(&Wait::ALL[..]));
    let options = btree_map(text(), text(), 0..4);
    (text(), any::<u32>(), wait, any::<[Option<u32>; 2]>(), options).prop_map(
        |(method, size_bytes, wait, [server_cpu, client_cpu], options)| ChannelSpec {
            method,
            size_bytes,
            wait,
            server_cpu,
            client_cpu,
            options,
        },
    )
}

pub(crate) fn request() -> impl Strategy<Value = Request> {
    prop_oneof![
        Just(Request::Status),
        Just(Request::Methods),
        Just(Request::Confinement),
        Just(Request::Stop),
        any::<bool>().prop_map(|wait| Request::Acquire { wait }),
        Just(Request::Release),
        spec().prop_map(Request::Open),
        any::<u64>().prop_map(Request::Usage),
        any::<u64>().prop_map(Request::Close),
    ]
}

fn end() -> impl Strategy<Value = End> {
    prop_oneof![
        any::<i32>().prop_map(End::Exited),
        any::<i32>().prop_map(End::Signalled),
        text().prop_map(End::Failed),
    ]
}

fn resource() -> impl Strategy<Value = Resource> {
    select(&Resource::ALL[..])
}

fn over_limit() -> impl Strategy<Value = OverLimit> {
    let scope = prop_oneof![any::<u32>().prop_map(|uid| Scope::User { uid }), Just(Scope::Total)];
    (resource(), scope, any::<[u64; 3]>()).prop_map(|(resource, scope, [limit, used, asked])| OverLimit {
        resource,
        scope,
        limit,
        used,
        asked,
    })
}

pub(crate) fn refusal() -> impl Strategy<Value = Refusal> {
    prop_oneof![
        any::<u32>().prop_map(|holder_pid| Refusal::Busy { holder_pid }),
        over_limit().prop_map(Refusal::OverLimit),
        Just(Refusal::NoLease),
        (text(), vec(text(), 0..5)).prop_map(|(method, known)| Refusal::UnknownMethod { method, known }),
        (text(), text().prop_map(Unavailable))
            .prop_map(|(method, reason)| Refusal::Unavailable { method, reason }),
        (text(), text()).prop_map(|(method, reason)| Refusal::Unfit { method, reason }),
        any::<u32>().prop_map(|channels| Refusal::ChannelsOpen { channels }),
        any::<u64>().prop_map(|channel| Refusal::NoChannel { channel }),
        text().prop_map(|reason| Refusal::Spawn { reason }),
        end().prop_map(|end| Refusal::NotOpened { end }),
        any::<u32>().prop_map(|deadline_ms| Refusal::NotReady { deadline_ms }),
        any::<u32>().prop_map(|uid| Refusal::NotPermitted { uid }),
        Just(Refusal::Stopping),
        text().prop_map(|reason| Refusal::Shortage { reason }),
    ]
}

fn channel_status() -> impl Strategy<Value = ChannelStatus> {
    (text(), any::<[u32; 3]>(), any::<[u64; 2]>()).prop_map(
        |(method, [size_bytes, responder_pid, client_pid], [channel, age_ns])| ChannelStatus {
            channel,
            method,
            size_bytes,
            responder_pid,
            client_pid,
            age_ns,
        },
    )
}

fn limit_use() -> impl Strategy<Value = LimitUse> {
    let most = option::of(any::<(u32, u64)>().prop_map(|(uid, used)| UserUse { uid, used }));
    (resource(), any::<[u64; 3]>(), most).prop_map(|(resource, [used, limit, limit_per_user], most)| {
        LimitUse { resource, used, limit, limit_per_user, most }
    })
}

fn status() -> impl Strategy<Value = Status> {
    let totals = any::<[u64; 4]>().prop_map(|[connections, channels_opened, channels_broken, refusals]| {
        Totals { connections, channels_opened, channels_broken, refusals }
    });
    let lists = (vec(any::<u32>(), 0..4), vec(any::<u32>(), 0..4));
    let numbers = any::<(u32, u16, u64, u32)>();
    (text(), numbers, lists, vec(channel_status(), 0..3), vec(limit_use(), 0..3), totals).prop_map(
        |(version, numbers, (lease_holders, queue), channels, limits, totals)| Status {
            pid: numbers.0,
            version,
            protocol_version: numbers.1,
            uptime_ns: numbers.2,
            connections: numbers.3,
            lease_holders,
            queue,
            channels,
            limits,
            totals,
        },
    )
}

fn usage() -> impl Strategy<Value = Usage> {
    (any::<[u64; 5]>(), any::<Option<u64>>(), any::<Option<u32>>()).prop_map(|(numbers, migrations, cpu)| {
        Usage {
            cpu_ns: numbers[0],
            voluntary_switches: numbers[1],
            involuntary_switches: numbers[2],
            minor_faults: numbers[3],
            major_faults: numbers[4],
            migrations,
            cpu,
        }
    })
}

fn method_state() -> impl Strategy<Value = MethodState> {
    let reason = || option::of(text().prop_map(Unavailable));
    let parts = (text(), reason(), reason(), any::<u32>(), option::of(text()));
    parts.prop_map(|(name, unavailable, closed, max_size_bytes, max_size_because)| MethodState {
        name,
        unavailable,
        closed,
        max_size_bytes,
        max_size_because,
    })
}

fn confinement() -> impl Strategy<Value = Confinement> {
    let throttling =
        any::<Option<[u64; 2]>>().prop_map(|of| of.map(|[periods, time_ns]| Throttling { periods, time_ns }));
    (vec(any::<u32>(), 0..4), option::of(text()), any::<Option<u64>>(), throttling).prop_map(
        |(cpus, cgroup, quota_millicpus, throttling)| Confinement {
            cpus,
            cgroup,
            quota_millicpus,
            throttling,
        },
    )
}

pub(crate) fn reply() -> impl Strategy<Value = Reply> {
    let opened = (any::<[u8; 32]>(), text(), any::<u64>(), any::<[u32; 2]>(), any::<Option<u32>>()).prop_map(
        |(token, endpoint, channel, [descriptors, responder_pid], responder_cpu)| Reply::Opened {
            channel,
            token: Token::new(token),
            endpoint,
            descriptors,
            responder_pid,
            responder_cpu,
        },
    );
    prop_oneof![
        status().prop_map(Reply::Status),
        vec(method_state(), 0..4).prop_map(Reply::Methods),
        confinement().prop_map(Reply::Confinement),
        Just(Reply::Stopping),
        Just(Reply::Acquired),
        any::<u32>().prop_map(|place| Reply::Queued { place }),
        Just(Reply::Released),
        opened,
        usage().prop_map(Reply::Usage),
        Just(Reply::Closed),
        refusal().prop_map(Reply::Refused),
        (any::<u64>(), end()).prop_map(|(channel, end)| Reply::Event(Event::Ended { channel, end })),
        Just(Reply::Event(Event::Stopping)),
        any::<u64>().prop_map(|after_ms| Reply::Event(Event::Revoked { after_ms })),
    ]
}

pub(crate) fn assignment() -> impl Strategy<Value = Assignment> {
    (spec(), any::<[u8; 32]>(), text(), any::<[u32; 3]>()).prop_map(|(spec, token, name, [pid, uid, gid])| {
        Assignment { spec, grant: Grant { token: Token::new(token), name, client: Owner { pid, uid, gid } } }
    })
}

pub(crate) fn announcement() -> impl Strategy<Value = Announcement> {
    prop_oneof![
        (text(), any::<u32>(), any::<Option<u32>>())
            .prop_map(|(endpoint, descriptors, cpu)| Announcement::Ready { endpoint, descriptors, cpu }),
        text().prop_map(|reason| Announcement::Failed { reason }),
    ]
}

/// Which kind of request it is. A new kind does not compile here until it is listed, above too.
pub(crate) fn kind_of_request(request: &Request) -> usize {
    match request {
        Request::Status => 0,
        Request::Methods => 1,
        Request::Stop => 2,
        Request::Acquire { .. } => 3,
        Request::Release => 4,
        Request::Open(_) => 5,
        Request::Usage(_) => 6,
        Request::Close(_) => 7,
        Request::Confinement => 8,
    }
}

/// Which kind of reply it is, likewise; each kind of event and of refusal by itself.
pub(crate) fn kind_of_reply(reply: &Reply) -> usize {
    match reply {
        Reply::Status(_) => 0,
        Reply::Methods(_) => 1,
        Reply::Stopping => 2,
        Reply::Acquired => 3,
        Reply::Queued { .. } => 4,
        Reply::Released => 5,
        Reply::Opened { .. } => 6,
        Reply::Usage(_) => 7,
        Reply::Closed => 8,
        Reply::Event(Event::Ended { .. }) => 9,
        Reply::Event(Event::Stopping) => 10,
        Reply::Refused(refusal) => match refusal {
            Refusal::Busy { .. } => 11,
            Refusal::OverLimit(_) => 12,
            Refusal::NoLease => 13,
            Refusal::UnknownMethod { .. } => 14,
            Refusal::Unavailable { .. } => 15,
            Refusal::Unfit { .. } => 16,
            Refusal::ChannelsOpen { .. } => 17,
            Refusal::NoChannel { .. } => 18,
            Refusal::Spawn { .. } => 19,
            Refusal::NotOpened { .. } => 20,
            Refusal::NotReady { .. } => 21,
            Refusal::NotPermitted { .. } => 22,
            Refusal::Stopping => 23,
            Refusal::Shortage { .. } => 24,
        },
        Reply::Event(Event::Revoked { .. }) => 25,
        Reply::Confinement(_) => 26,
    }
}

/// Kinds of request and of reply.
pub(crate) const KINDS: (usize, usize) = (9, 27);
