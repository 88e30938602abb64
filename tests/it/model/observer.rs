//! The promises that hold at every step, looked at after every request that may have changed something, and just before
//! Azure does something.
//!
//! *Entitled* is by the word on the tenant's row, at the moment of the look. How old that word may be is a promise of
//! its own: once an event was answered 200, or Stripe was asked, the row never again holds what Stripe said before
//! that event was first posted, or before it was asked (`invariants`).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use nbhd::clock::{Clock, Timestamp};
use nbhd::domain::ids::{ChatId, TenantId};
use nbhd::domain::subscription::Entitlement;
use nbhd::domain::tenant::{Lifecycle, Tenant, Tombstone};
use nbhd_sim::arm::{Arm, Failure, Operation};
use nbhd_sim::azure::Azure;
use nbhd_sim::interruption::{Interruption, NamedRequest, StopPoint};
use nbhd_sim::item;
use nbhd_sim::table::Table;
use serde_json::Value;

/// Observes one world, and keeps the first promise that it saw broken.
pub(super) struct Observer {
    table: Arc<Table>,
    arm: Arm,
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Whose work it is that goes on.
    subject: Option<(TenantId, ChatId)>,
    /// How far the table's writes were looked at.
    writes: usize,
    requests: usize,
    looks: usize,
    /// Whether rows changed under the worker while it was held: what it had decided by then, it still does.
    is_held: bool,
    /// Whether it outlived its lease: what it asks for then, it asks for in vain or too late, and that is put right.
    is_frozen: bool,
    /// Whether a request takes effect that nobody waits for any more.
    is_landing: bool,
    /// Overlaps of replicas that such requests made.
    excused_overlaps: u32,
    lifecycles: HashMap<TenantId, Lifecycle>,
    /// Until when operators gave assistants.
    gifts: HashMap<TenantId, Timestamp>,
    violation: Option<Violation>,
    table_fails_after: Option<usize>,
    arm_fails: Option<ArmFails>,
}

/// From which request on the resource manager fails, how often, and how.
struct ArmFails {
    at: StopPoint,
    times: usize,
    how: Failure,
    number: usize,
    seen: HashMap<String, usize>,
    /// The first that failed.
    failed: Option<NamedRequest>,
}

/// A promise that was broken.
#[derive(Clone, Debug)]
pub(super) struct Violation {
    pub(super) tenant: TenantId,
    /// The kind: always the same words for the same promise.
    pub(super) broke: &'static str,
    /// What was found.
    pub(super) found: String,
}

/// What the table holds about a tenant.
pub(super) enum Record {
    Live(Box<Tenant>),
    Deleted(Box<Tombstone>),
    Nothing,
}

impl Observer {
    pub(super) fn start(clock: &Clock, table: &Arc<Table>, azure: &Azure, interruption: &Interruption) -> Arc<Self> {
        let (table, arm, clock) = (Arc::clone(table), azure.arm.clone(), clock.clone());
        let observer = Arc::new(Self { table, arm, clock, state: Mutex::default() });
        let weak = Arc::downgrade(&observer);
        let looks = Weak::clone(&weak);
        interruption.observe_effects(move || {
            if let Some(observer) = looks.upgrade() {
                observer.observe();
            }
        });
        observer
            .arm
            .faults
            .fail_with(move |operation| weak.upgrade().and_then(|observer| observer.before_operation(operation)));
        observer
    }

    /// From now on the work is this tenant's.
    pub(super) fn set_subject(&self, tenant: TenantId, chat: ChatId) {
        let mut state = self.state();
        if state.is_frozen {
            state.excused_overlaps = self.arm.overlaps();
        }
        (state.subject, state.is_held, state.is_frozen) = (Some((tenant, chat)), false, false);
    }

    /// The worker at work is held, and others go on; frozen it is past its lease.
    pub(super) fn mark_held(&self, is_frozen: bool) {
        let mut state = self.state();
        (state.is_held, state.is_frozen) = (true, is_frozen);
    }

    /// A request that was under way takes effect, or has done so.
    pub(super) fn set_landing(&self, is_landing: bool) {
        let mut state = self.state();
        state.is_landing = is_landing;
        state.excused_overlaps = self.arm.overlaps();
    }

    /// An operator gave somebody an assistant until then, or took it back.
    pub(super) fn set_gift(&self, tenant: TenantId, until: Timestamp) {
        self.state().gifts.insert(tenant, until);
    }

    /// Whether an operator's gift runs now.
    pub(super) fn has_gift(&self, tenant: TenantId) -> bool {
        self.state().gifts.get(&tenant).is_some_and(|until| *until > self.clock.now())
    }

    pub(super) fn fail_table_after(&self, requests: usize) {
        self.state().table_fails_after = Some(requests);
    }

    pub(super) fn fail_arm(&self, at: StopPoint, times: usize, how: Failure) {
        let fails = ArmFails { at, times, how, number: 0, seen: HashMap::new(), failed: None };
        self.state().arm_fails = Some(fails);
    }

    /// Nothing fails any more; the first request that the resource manager let fail.
    pub(super) fn stop_failing(&self) -> Option<NamedRequest> {
        let mut state = self.state();
        state.table_fails_after = None;
        state.arm_fails.take().and_then(|fails| fails.failed)
    }

    /// Requests to any vendor, and looks at the rows.
    pub(super) fn counts(&self) -> (usize, usize) {
        let state = self.state();
        (state.requests, state.looks)
    }

    pub(super) fn violation(&self) -> Option<Violation> {
        self.state().violation.clone()
    }

    /// A promise was broken; the first one counts.
    pub(super) fn report_violation(&self, tenant: TenantId, broke: &'static str, found: impl Into<String>) {
        let found = found.into();
        self.state().violation.get_or_insert(Violation { tenant, broke, found });
    }

    pub(super) fn record(&self, tenant: TenantId) -> Record {
        let Some(item) = self.table.item(&format!("TENANT#{tenant}"), "META").expect("a table") else {
            return Record::Nothing;
        };
        let row = item::to_plain(&item);
        if row.get("deleted_at").is_some() {
            return Record::Deleted(Box::new(serde_json::from_value(row).expect("a tombstone")));
        }
        Record::Live(Box::new(serde_json::from_value(row).expect("a tenant")))
    }

    /// The route of a chat: whether it delivers, to which tenant, and where.
    pub(super) fn route(&self, chat: ChatId) -> Option<Value> {
        self.table.item(&format!("CHAT#{chat}"), "ROUTE").expect("a table").map(|item| item::to_plain(&item))
    }

    /// A request had its effect.
    fn observe(&self) {
        let writes = self.table.writes();
        let (subject, is_news) = {
            let mut state = self.state();
            state.requests += 1;
            if let Some(left) = &mut state.table_fails_after {
                *left = left.saturating_sub(1);
                if *left == 0 {
                    self.table.faults.set_down(true);
                }
            }
            let is_news = std::mem::replace(&mut state.writes, writes) != writes;
            state.looks += usize::from(is_news);
            (state.subject, is_news)
        };
        let Some((tenant, chat)) = subject else { return };
        let is_excused = {
            let state = self.state();
            state.is_landing || state.is_frozen || self.arm.overlaps() <= state.excused_overlaps
        };
        if !is_excused {
            self.report_violation(tenant, "two replicas of one container at once", "");
        }
        if is_news {
            self.check_tenant(tenant, chat);
        }
    }

    /// Looks at a tenant's row and route.
    pub(super) fn check_tenant(&self, tenant_id: TenantId, chat: ChatId) {
        let (now, route) = (self.clock.now(), self.route(chat));
        let is_active = route.as_ref().is_some_and(|route| route["status"] == "active");
        let tenant = match self.record(tenant_id) {
            Record::Live(tenant) => tenant,
            Record::Deleted(_) | Record::Nothing => {
                self.state().lifecycles.remove(&tenant_id);
                if self.has_gift(tenant_id) {
                    self.report_violation(tenant_id, "removed while a gift runs", "");
                }
                if route.is_some() {
                    self.report_violation(tenant_id, "a route to a tenant that is gone", "");
                }
                return;
            }
        };
        if is_active && tenant.lifecycle != Lifecycle::Active {
            self.report_violation(
                tenant_id,
                "an active route to a tenant that is not active",
                tenant.lifecycle.as_str(),
            );
        }
        if route.is_some_and(|route| route["tenant_id"] != tenant_id.to_string()) {
            self.report_violation(tenant_id, "a chat's route leads to another's tenant", "");
        }
        let before = self.state().lifecycles.insert(tenant_id, tenant.lifecycle);
        if before == Some(tenant.lifecycle) {
            return;
        }
        if matches!(tenant.lifecycle, Lifecycle::Provisioning | Lifecycle::Active) && !runs(&tenant, now) {
            self.report_violation(tenant_id, "begun or active without Stripe's word", tenant.lifecycle.as_str());
        }
        let is_ended = matches!(tenant.lifecycle, Lifecycle::Suspended | Lifecycle::Deprovisioning);
        if is_ended && self.has_gift(tenant_id) && !tenant.held {
            self.report_violation(tenant_id, "suspended or removed while a gift runs", tenant.lifecycle.as_str());
        }
        let resources = &tenant.reconcile.resources;
        let is_up = resources.app.as_ref().is_some_and(|app| app.healthy && app.running);
        let reads = resources.secret_reader.is_some()
            && resources.secret_reader == resources.identity.as_ref().map(|of| of.principal_id.clone());
        if tenant.lifecycle == Lifecycle::Active && !(is_up && reads) {
            self.report_violation(tenant_id, "activated before its container was healthy", "");
        }
    }

    /// Azure is asked to do something; how that shall fail.
    fn before_operation(&self, operation: Operation) -> Option<Failure> {
        let (subject, is_excused) = {
            let state = self.state();
            (state.subject, state.is_landing || state.is_frozen)
        };
        if let Some((tenant_id, chat)) = subject.filter(|_| !is_excused) {
            self.check_operation(tenant_id, chat, operation);
        }
        let mut state = self.state();
        state.arm_fails.as_mut()?.next(operation)
    }

    fn check_operation(&self, tenant_id: TenantId, chat: ChatId, operation: Operation) {
        let now = self.clock.now();
        match operation {
            Operation::StopApp | Operation::DeleteApp => {
                let is_open = self.route(chat).is_some_and(|route| route["status"] == "active");
                let Record::Live(tenant) = self.record(tenant_id) else { return };
                let is_held = self.state().is_held;
                if is_open && !runs(&tenant, now) && !is_held {
                    self.report_violation(
                        tenant_id,
                        "the app of a tenant not entitled was stopped before its route",
                        "",
                    );
                }
            }
            Operation::PutApp | Operation::StartApp => {
                let lifecycle = match self.record(tenant_id) {
                    Record::Live(tenant) => Some(tenant.lifecycle),
                    Record::Deleted(_) | Record::Nothing => None,
                };
                if !matches!(lifecycle, Some(Lifecycle::Provisioning | Lifecycle::Active)) {
                    self.report_violation(
                        tenant_id,
                        "a container for a tenant that has none",
                        format!("{lifecycle:?}"),
                    );
                }
            }
            Operation::PutIdentity
            | Operation::DeleteIdentity
            | Operation::PutRole
            | Operation::DeleteRole
            | Operation::PutShare
            | Operation::DeleteShare
            | Operation::PutStorage
            | Operation::DeleteStorage
            | Operation::Poll
            | Operation::Get
            | Operation::List => {}
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ArmFails {
    /// How this request fails, if it does.
    fn next(&mut self, operation: Operation) -> Option<Failure> {
        self.number += 1;
        let request = format!("{operation:?}");
        let nth = self.seen.entry(request.clone()).or_default();
        *nth += 1;
        let named = NamedRequest { request, nth: *nth };
        let begins = match &self.at {
            StopPoint::Number(number) => self.number >= *number,
            StopPoint::Named(at) => *at == named,
        };
        if self.times == 0 || (self.failed.is_none() && !begins) {
            return None;
        }
        self.times -= 1;
        self.failed.get_or_insert(named);
        Some(self.how)
    }
}

/// Whether its word lets a tenant run at `now`.
pub(super) fn runs(tenant: &Tenant, now: Timestamp) -> bool {
    matches!(tenant.entitlement(now), Entitlement::Run { .. })
}
