//! The promises that hold at every step, looked at after every request that may have changed something, and just before
//! Azure does something.
//!
//! *Entitled* is by the word on the tenant's row, at the moment of the look. How old that word may be is a promise of
//! its own: once an event was answered 200, or Stripe was asked, the row never again holds what Stripe said before
//! that event was first posted, or before it was asked (`checks`).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use nbhd::clock::{Clock, Timestamp};
use nbhd::domain::ids::{ChatId, TenantId};
use nbhd::domain::subscription::Entitlement;
use nbhd::domain::tenant::{Lifecycle, Tenant, Tombstone};
use nbhd_sim::arm::{Arm, Failure, Operation};
use nbhd_sim::azure::Azure;
use nbhd_sim::interruption::Interruption;
use nbhd_sim::table::Table;
use serde_json::{Map, Value};

/// The watch over one world.
pub(super) struct Watch {
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
    lifecycles: HashMap<TenantId, Lifecycle>,
    violation: Option<(TenantId, String)>,
    table_fails_after: Option<usize>,
    /// After how many requests to the resource manager it fails, how often, and how.
    arm_fails: Option<(usize, usize, Failure)>,
}

/// What the table holds about a tenant.
pub(super) enum Record {
    Live(Box<Tenant>),
    Gone(Tombstone),
    Nothing,
}

impl Watch {
    pub(super) fn start(clock: &Clock, table: &Arc<Table>, azure: &Azure, interruption: &Interruption) -> Arc<Self> {
        let (table, arm, clock) = (Arc::clone(table), azure.arm.clone(), clock.clone());
        let watch = Arc::new(Self { table, arm, clock, state: Mutex::default() });
        let weak = Arc::downgrade(&watch);
        let looks = Weak::clone(&weak);
        interruption.watched_by(move || {
            if let Some(watch) = looks.upgrade() {
                watch.looks();
            }
        });
        watch.arm.fail_as(move |operation| weak.upgrade().and_then(|watch| watch.before(operation)));
        watch
    }

    /// From now on the work is this tenant's.
    pub(super) fn follows(&self, tenant: TenantId, chat: ChatId) {
        let mut state = self.state();
        (state.subject, state.is_held) = (Some((tenant, chat)), false);
    }

    /// The worker at work is held, and others go on.
    pub(super) fn holds(&self) {
        self.state().is_held = true;
    }

    pub(super) fn lets_table_fail_after(&self, requests: usize) {
        self.state().table_fails_after = Some(requests);
    }

    pub(super) fn lets_arm_fail(&self, after: usize, times: usize, how: Failure) {
        self.state().arm_fails = Some((after, times, how));
    }

    pub(super) fn mends(&self) {
        let mut state = self.state();
        (state.table_fails_after, state.arm_fails) = (None, None);
    }

    /// Requests to any vendor, and looks at the rows.
    pub(super) fn counts(&self) -> (usize, usize) {
        let state = self.state();
        (state.requests, state.looks)
    }

    pub(super) fn violation(&self) -> Option<(TenantId, String)> {
        self.state().violation.clone()
    }

    /// A promise was broken; the first one counts.
    pub(super) fn breaks(&self, tenant: TenantId, what: impl Into<String>) {
        let what = what.into();
        self.state().violation.get_or_insert((tenant, what));
    }

    pub(super) fn record(&self, tenant: TenantId) -> Record {
        let Some(item) = self.table.item(&format!("TENANT#{tenant}"), "META").expect("a table") else {
            return Record::Nothing;
        };
        let row = plain(&item);
        if row.get("deleted_at").is_some() {
            return Record::Gone(serde_json::from_value(row).expect("a tombstone"));
        }
        Record::Live(Box::new(serde_json::from_value(row).expect("a tenant")))
    }

    /// The route of a chat: whether it delivers, to which tenant, and where.
    pub(super) fn route(&self, chat: ChatId) -> Option<Value> {
        self.table.item(&format!("CHAT#{chat}"), "ROUTE").expect("a table").map(|item| plain(&item))
    }

    /// A request had its effect.
    fn looks(&self) {
        let writes = self.table.writes();
        let (subject, is_news) = {
            let mut state = self.state();
            state.requests += 1;
            if let Some(left) = &mut state.table_fails_after {
                *left = left.saturating_sub(1);
                if *left == 0 {
                    self.table.fail(true);
                }
            }
            let is_news = std::mem::replace(&mut state.writes, writes) != writes;
            state.looks += usize::from(is_news);
            (state.subject, is_news)
        };
        let Some((tenant, chat)) = subject else { return };
        if self.arm.overlaps() > 0 {
            self.breaks(tenant, "two replicas of one container at once");
        }
        if is_news {
            self.looks_at(tenant, chat);
        }
    }

    /// Looks at a tenant's row and route.
    pub(super) fn looks_at(&self, tenant_id: TenantId, chat: ChatId) {
        let (now, route) = (self.clock.now(), self.route(chat));
        let is_active = route.as_ref().is_some_and(|route| route["status"] == "active");
        let tenant = match self.record(tenant_id) {
            Record::Live(tenant) => tenant,
            Record::Gone(_) | Record::Nothing => {
                self.state().lifecycles.remove(&tenant_id);
                if route.is_some() {
                    self.breaks(tenant_id, "a route to a tenant that is gone");
                }
                return;
            }
        };
        if is_active && tenant.lifecycle != Lifecycle::Active {
            self.breaks(tenant_id, format!("an active route to a tenant that is {:?}", tenant.lifecycle));
        }
        if route.is_some_and(|route| route["tenant_id"] != tenant_id.to_string()) {
            self.breaks(tenant_id, "a chat's route leads to another's tenant");
        }
        let before = self.state().lifecycles.insert(tenant_id, tenant.lifecycle);
        if before == Some(tenant.lifecycle) {
            return;
        }
        if matches!(tenant.lifecycle, Lifecycle::Provisioning | Lifecycle::Active) && !runs(&tenant, now) {
            self.breaks(tenant_id, format!("{:?} without Stripe's word", tenant.lifecycle));
        }
        let resources = &tenant.work.resources;
        let is_up = resources.app.as_ref().is_some_and(|app| app.healthy && app.running);
        let reads = resources.reader.is_some()
            && resources.reader == resources.identity.as_ref().map(|of| of.principal_id.clone());
        if tenant.lifecycle == Lifecycle::Active && !(is_up && reads) {
            self.breaks(tenant_id, "activated before its container was healthy");
        }
    }

    /// Azure is asked to do something; how that shall fail.
    fn before(&self, operation: Operation) -> Option<Failure> {
        let subject = self.state().subject;
        if let Some((tenant_id, chat)) = subject {
            self.judges(tenant_id, chat, operation);
        }
        let mut state = self.state();
        let (after, times, how) = state.arm_fails.as_mut()?;
        *after = after.saturating_sub(1);
        if *after > 0 || *times == 0 {
            return None;
        }
        *times -= 1;
        Some(*how)
    }

    fn judges(&self, tenant_id: TenantId, chat: ChatId, operation: Operation) {
        let now = self.clock.now();
        match operation {
            Operation::StopApp | Operation::DeleteApp => {
                let is_open = self.route(chat).is_some_and(|route| route["status"] == "active");
                let Record::Live(tenant) = self.record(tenant_id) else { return };
                let is_held = self.state().is_held;
                if is_open && !runs(&tenant, now) && !is_held {
                    self.breaks(tenant_id, "the app of a tenant not entitled was stopped before its route");
                }
            }
            Operation::PutApp | Operation::StartApp => {
                let lifecycle = match self.record(tenant_id) {
                    Record::Live(tenant) => Some(tenant.lifecycle),
                    Record::Gone(_) | Record::Nothing => None,
                };
                if !matches!(lifecycle, Some(Lifecycle::Provisioning | Lifecycle::Active)) {
                    self.breaks(tenant_id, format!("a container for a tenant that is {lifecycle:?}"));
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

/// Whether its word lets a tenant run at `now`.
pub(super) fn runs(tenant: &Tenant, now: Timestamp) -> bool {
    matches!(tenant.entitlement(now), Entitlement::Run { .. })
}

/// An item in DynamoDB's JSON as the JSON it stands for.
pub(super) fn plain(item: &Value) -> Value {
    let fields = |map: &Map<String, Value>| map.iter().map(|(name, value)| (name.clone(), untyped(value))).collect();
    Value::Object(item.as_object().map(fields).unwrap_or_default())
}

fn untyped(value: &Value) -> Value {
    let Some((kind, value)) = value.as_object().and_then(|typed| typed.iter().next()) else { return Value::Null };
    match kind.as_str() {
        "N" => value.as_str().and_then(|number| number.parse().ok()).map_or(Value::Null, Value::Number),
        "NULL" => Value::Null,
        "M" => plain(value),
        "L" => value.as_array().map(|list| list.iter().map(untyped).collect()).unwrap_or_default(),
        _ => value.clone(),
    }
}
