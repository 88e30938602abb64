//! What is held to be true after each invocation, and the end that every history must come to.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use nbhd::domain::ids::TenantId;
use nbhd::domain::plan::Part;
use nbhd::domain::reconcile_status::Notice;
use nbhd::domain::route::RouteStatus;
use nbhd::domain::subscription::{Entitlement, Subscription};
use nbhd::domain::tenant::{Lifecycle, Tenant, Tombstone};
use nbhd_sim::azure::VAULT;
use nbhd_sim::item;
use nbhd_sim::sqs::LIFECYCLE;
use serde_json::Value;
use tenant_reconcile::Report;

use super::google::tokens_of;
use super::observer::{Record, runs};
use super::person::Person;
use super::things::{Broken, Left, Thing, compare_things, model_key};
use super::world::{HOUR, MINUTE, PEOPLE, World};

/// How things stood before an invocation.
pub(super) struct Before {
    /// What Stripe would have said then, by its place.
    pub(super) truth: usize,
    synced: Option<nbhd::clock::Timestamp>,
    told: usize,
}

/// The end of the faults' aftermath: a lost event heals within a day, a failure waits for an hour at most.
const HEALED_AFTER: Duration = Duration::from_secs(26 * 3_600);
/// A retention of seven days may end in between, and what is removed then is looked for until a day later.
const MOST_DAYS: usize = 15;

impl World {
    pub(super) fn begin_invocation(&self, number: usize) -> Before {
        let truth = self.record_truth(number);
        let (tenant, chat) = self.with(number, |person| (person.tenant, person.chat));
        self.observer.set_subject(tenant, chat);
        self.count(|counts| counts.invocations += 1);
        self.journal.clear();
        Before { truth, synced: self.synced(tenant), told: self.telegram.texts_to(chat).len() }
    }

    fn synced(&self, tenant: TenantId) -> Option<nbhd::clock::Timestamp> {
        match self.observer.record(tenant) {
            Record::Live(tenant) => tenant.reconcile.synced_at,
            Record::Deleted(_) | Record::Nothing => None,
        }
    }

    /// After an invocation that was left alone, or `is_disturbed`.
    pub(super) async fn end_invocation(
        &self,
        number: usize,
        before: &Before,
        is_disturbed: bool,
        report: Option<Report>,
    ) {
        self.mutant.act_after(self, number).await;
        self.record_truth(number);
        let (tenant, chat) = self.with(number, |person| (person.tenant, person.chat));
        self.observer.check_tenant(tenant, chat);
        let told = self.telegram.texts_to(chat).len();
        if is_disturbed {
            self.with(number, |person| person.excused += told - before.told);
        }
        let Record::Live(row) = self.observer.record(tenant) else { return };
        if row.reconcile.synced_at.is_some() && row.reconcile.synced_at != before.synced {
            self.with(number, |person| person.floor = person.floor.max(before.truth));
        }
        self.with(number, |person| self.check_subscription(person, &row));
        let now = self.clock.now();
        let is_open = self.observer.route(chat).is_some_and(|route| route["status"] == "active");
        let asks_stripe = row.reconcile.stripe_backoff.as_ref().is_some_and(|unanswered| unanswered.until > now);
        let has_worked = report.is_some_and(|report| report.converged + report.waiting > 0);
        if has_worked && !is_disturbed && is_open && !runs(&row, now) && !asks_stripe {
            self.observer.report_violation(tenant, "worked on, and still a route to a tenant not entitled", "");
        }
        self.check_readers(number);
    }

    /// The row holds a word that Stripe gave, and none older than the last one that was taken down.
    fn check_subscription(&self, person: &Person, row: &Tenant) {
        // A new life of a removed tenant that an operator gave holds no word of Stripe's yet, and is due to ask.
        if row.subscription.is_none() && row.reconcile.synced_at.is_none() {
            return;
        }
        let possible = &person.truths[person.floor.min(person.truths.len())..];
        let says = |truth: &Option<Subscription>| truth.is_none() || *truth == row.subscription;
        if !possible.iter().any(says) && row.subscription != expected(person) {
            let found = format!("{:?}, possible are {possible:?}", row.subscription);
            self.observer.report_violation(person.tenant, "the row holds an old word", found);
        }
    }

    fn check_readers(&self, number: usize) {
        let (tenant, names) = self.with(number, |person| (person.tenant, person.names.clone()));
        let readers = self.azure.arm.readers(VAULT, &names.secret);
        if readers.is_empty() {
            return;
        }
        let identity = self.azure.arm.group().identity(&names.resource).to_string();
        let own = self.azure.arm.resource(&identity);
        let own = own.as_ref().and_then(|identity| identity["properties"]["principalId"].as_str());
        if readers.len() > 1 || own.is_some_and(|own| readers[0] != own) {
            self.observer.report_violation(tenant, "another identity can read the runtime's secret", "");
        }
    }

    /// Faults stop, and time passes, until what was removed was looked for the last time.
    pub(super) async fn recover(&self) {
        self.is_fault_free.set(true);
        self.deliver_mail().await;
        self.drain_jobs(HOUR).await;
        for _ in 0..MOST_DAYS {
            self.advance_to(self.clock.now() + HEALED_AFTER).await;
            self.run_until_idle().await;
            if self.violation().is_some() || !self.waits_for_late_effects() {
                return;
            }
        }
    }

    async fn run_until_idle(&self) {
        for _ in 0..60 {
            self.collect_events();
            self.deliver_mail().await;
            let due =
                if self.mutant.allows_sweep() { reconcile_sweep::queue_due(&self.sweep, "sweep").await.due } else { 0 };
            self.drain_jobs(70 * MINUTE).await;
            let is_quiet = self.sqs.messages(LIFECYCLE).is_empty() && !self.has_mail();
            if self.violation().is_some() || (due == 0 && is_quiet) {
                return;
            }
        }
    }

    /// Whether something is still to be looked for.
    fn waits_for_late_effects(&self) -> bool {
        let people = self.people.borrow();
        people.iter().any(|person| match self.observer.record(person.tenant) {
            Record::Deleted(left) => left.recheck.at.is_some(),
            Record::Live(row) => row.reconcile.in_flight.is_some() || row.reconcile.leftovers.is_some(),
            Record::Nothing => false,
        })
    }

    /// Every history came to its end, and nothing is left over.
    pub(super) fn check_end(&self) {
        let items = self.items();
        let left = Left::of(self);
        let mut known = BTreeSet::new();
        for number in 0..PEOPLE {
            self.record_truth(number);
            let people = self.people.borrow();
            let person = &people[number];
            let own = items.get(&format!("TENANT#{}", person.tenant)).map(Vec::as_slice).unwrap_or_default();
            let ended = self.check_person(person, own).and_then(|()| {
                let ought = self.expected_things(person);
                let is = left.belonging_to(person);
                known.extend(is.clone());
                compare_things(is, ought)
            });
            if let Err((broke, found)) = ended {
                return self.observer.report_violation(person.tenant, broke, found);
            }
        }
        let nobodys: Vec<_> = left.0.iter().filter(|thing| !known.contains(*thing)).collect();
        if !nobodys.is_empty() {
            let nobody = self.people.borrow()[0].tenant;
            self.observer.report_violation(nobody, "something is left that belongs to nobody", format!("{nobodys:#?}"));
        }
    }

    /// What there ought to be of a person's, in Azure, at the gateway and in the vault.
    fn expected_things(&self, person: &Person) -> BTreeSet<Thing> {
        let Record::Live(row) = self.observer.record(person.tenant) else { return BTreeSet::new() };
        let mut things: BTreeSet<Thing> = self.resources_of(person, &row).into_iter().map(|id| ("Azure", id)).collect();
        // Both generations stay while a rotation is interrupted by a suspension.
        let known = &row.reconcile.resources;
        for keys in known.keys.iter().chain(&known.former_keys) {
            let disabled = row.lifecycle != Lifecycle::Active;
            things.insert(("the gateway", model_key(&person.names.model_key(keys.generation), disabled)));
        }
        // Also one that the row does not know: its model key is gone, and its internal key opens nothing. It is taken
        // over or replaced when keys are next made, and removed with the tenant.
        let is_there = known.keys.is_some() || self.azure.vault.value(&person.names.secret).is_some();
        things.extend(is_there.then(|| ("the vault", person.names.secret.clone())));
        things.extend(self.holds_tokens(person.tenant).then(|| ("the vault", tokens_of(person.tenant))));
        things
    }

    /// What there is of a tenant: everything while it is active, and what was made by then when it was suspended.
    fn resources_of(&self, person: &Person, row: &Tenant) -> Vec<String> {
        use nbhd_sim::arm::{ACCOUNT, ENVIRONMENT};
        let (group, name, known) = (self.azure.arm.group(), &person.names.resource, &row.reconcile.resources);
        let secret = group.vault_secret(VAULT, &person.names.secret);
        let role = format!("{secret}/providers/Microsoft.Authorization/roleAssignments/{}", person.names.role);
        let is_active = row.lifecycle == Lifecycle::Active;
        let all = [
            (group.identity(name).to_string(), known.identity.is_some()),
            (group.share(ACCOUNT, name).to_string(), known.share),
            (group.storage(ENVIRONMENT, name).to_string(), known.storage),
            (group.app(name).to_string(), known.app.is_some()),
            (role, known.secret_reader.is_some()),
        ];
        all.into_iter().filter(|(_, is_made)| *is_made || is_active).map(|(id, _)| id.to_lowercase()).collect()
    }

    fn check_person(&self, person: &Person, items: &[Value]) -> Result<(), Broken> {
        self.check_messages(person)?;
        self.check_secrets(person, items)?;
        match self.observer.record(person.tenant) {
            Record::Nothing => ensure(person.customer.is_none(), "there is no row for a customer", String::new),
            Record::Deleted(left) => self.check_tombstone(person, &left, items),
            Record::Live(row) => self.check_live_tenant(person, &row, items),
        }
    }

    fn check_tombstone(&self, person: &Person, left: &Tombstone, items: &[Value]) -> Result<(), Broken> {
        let truth = expected(person);
        let runs = |known: &Subscription| matches!(known.entitlement(self.clock.now()), Entitlement::Run { .. });
        let is_over = !truth.as_ref().is_some_and(runs);
        ensure(!self.observer.has_gift(person.tenant), "removed while a gift runs", || format!("{left:?}"))?;
        ensure(is_over, "a tombstone of somebody who pays", || format!("{truth:?}"))?;
        ensure(left.recheck.at.is_none(), "what was removed was not rechecked", || format!("{left:?}"))?;
        let said = |part: Part| left.receipt.iter().any(|line| line.part == part);
        let was_built = said(Part::App);
        let is_whole = Part::ALL.into_iter().filter(|part| was_built || !part.is_in_shard()).all(said);
        ensure(is_whole, "the receipt is not whole", || format!("{:?}", left.receipt))?;
        ensure(items.len() == 1, "more than a receipt is left", || format!("{items:#?}"))?;
        ensure(self.observer.route(person.chat).is_none(), "a route to nobody", String::new)
    }

    fn check_live_tenant(&self, person: &Person, row: &Tenant, items: &[Value]) -> Result<(), Broken> {
        let (now, work) = (self.clock.now(), &row.reconcile);
        let truth = expected(person);
        let is_known = truth.is_none() || truth == row.subscription;
        ensure(is_known, "the row holds what Stripe no longer says", || {
            format!("{:?}, and Stripe says {truth:?}", row.subscription)
        })?;
        let gift_until = person.gift_until.filter(|until| *until > now);
        let is_given = gift_until.is_none() || row.gift.map(|gift| gift.until) == gift_until;
        ensure(is_given, "a gift is forgotten", || format!("{:?}, not {gift_until:?}", row.gift))?;
        let expected = match row.entitlement(now) {
            Entitlement::Run { .. } => Lifecycle::Active,
            Entitlement::Suspend { .. } | Entitlement::Pending
                if work.shard.is_some() || has_notice_of_this_life(row) =>
            {
                Lifecycle::Suspended
            }
            Entitlement::Suspend { .. } | Entitlement::Pending => Lifecycle::Pending,
            Entitlement::Remove => return Err(("it was to be removed", format!("{:?}", row.lifecycle))),
        };
        ensure(row.lifecycle == expected, "the lifecycle is not what it ought to be", || {
            format!("{:?} and ought to be {expected:?}: {:#?}", row.lifecycle, row.reconcile)
        })?;
        ensure(work.last_error.is_none(), "a failure is left", || format!("{:?}", work.last_error))?;
        ensure(work.lease.is_none(), "a worker holds it", || format!("{:?}", work.lease))?;
        ensure(work.in_flight.is_none(), "what was under way was not looked for", || format!("{:?}", work.in_flight))?;
        ensure(work.leftovers.is_none(), "an earlier life's leftovers were not looked for", String::new)?;
        let is_due = row.due.as_ref().is_some_and(|due| due.at > now);
        ensure(is_due, "not looked at again", || format!("{:?}", row.due))?;
        let route = self.observer.route(person.chat);
        let status = route.as_ref().and_then(|route| route["status"].as_str()).unwrap_or("none");
        let app = self.azure.arm.app(&person.names.resource);
        if expected == Lifecycle::Active {
            ensure(status == RouteStatus::Active.as_str(), "active, and its route is not", || status.to_owned())?;
            let app = app.ok_or(("active, and there is no container", String::new()))?;
            ensure(!app.is_stopped, "active, and its container is stopped", String::new)?;
            let value = self.azure.arm.secret_value(&app, "runtime");
            ensure(value.is_some(), "its container cannot read its secret", String::new)?;
            let is_over = row.key_hashes.len() == 1 && row.other_generation.is_none();
            ensure(is_over, "a rotation goes on", String::new)?;
            self.check_derived(person, row)?;
            for step in ["provision", "put_app", "check_health", "activate"] {
                ensure(has_step(items, step), "nothing says that a step was done", || step.to_owned())?;
            }
            Ok(())
        } else {
            ensure(status != RouteStatus::Active.as_str(), "not entitled, and its route is active", String::new)?;
            ensure(app.is_none_or(|app| app.is_stopped), "not entitled, and its container runs", String::new)
        }
    }

    /// What is said comes once each time it comes true; once more when the work that said it was cut short.
    fn check_messages(&self, person: &Person) -> Result<(), Broken> {
        let told = self.telegram.texts_to(person.chat);
        let repeated = told.windows(2).filter(|pair| pair[0] == pair[1]).count();
        ensure(repeated <= person.excused, "a person is told the same twice", || {
            format!("{repeated} repeats, {} excused: {told:#?}", person.excused)
        })?;
        let is_told = person.excused > 0 || lives_are_announced(&told);
        ensure(is_told, "a new life is not told as such", || format!("{told:#?}"))
    }

    fn check_secrets(&self, person: &Person, items: &[Value]) -> Result<(), Broken> {
        let Some(bundle) = self.azure.vault.value(&person.names.secret) else { return Ok(()) };
        let bundle: Value =
            serde_json::from_str(&bundle).map_err(|error| ("a secret is no JSON", error.to_string()))?;
        let text = Value::from(items.to_vec()).to_string();
        for name in ["internal_key", "webhook_secret", "relay_token", "gateway_token", "model_key"] {
            let secret = bundle[name].as_str().ok_or_else(|| ("the secret lacks something", name.to_owned()))?;
            ensure(!text.contains(secret), "a row holds a secret", || name.to_owned())?;
        }
        Ok(())
    }

    /// Every item there is, by its partition.
    fn items(&self) -> BTreeMap<String, Vec<Value>> {
        let mut items = BTreeMap::<String, Vec<Value>>::new();
        for item in self.table.items().expect("a table").iter().map(item::to_plain) {
            let partition = item["pk"].as_str().unwrap_or_default().to_owned();
            items.entry(partition).or_default().push(item);
        }
        items
    }
}

/// Whether somebody whose assistant was removed hears of the next one as a new one, and nobody else does.
fn lives_are_announced(told: &[String]) -> bool {
    #[derive(PartialEq)]
    enum Heard {
        Nothing,
        Ready,
        Removed,
        Replaced,
        PausedAnew,
    }
    let mut heard = Heard::Nothing;
    told.iter().all(|text| {
        let (is_in_place, next) = if text.starts_with("Your assistant is ready") {
            (matches!(heard, Heard::Nothing | Heard::Replaced), Heard::Ready)
        } else if text.starts_with("Your new assistant is ready") {
            (matches!(heard, Heard::Removed | Heard::PausedAnew), Heard::Ready)
        } else if text.starts_with("Your new assistant is paused") {
            (heard == Heard::Removed, Heard::PausedAnew)
        } else if text.starts_with("Your assistant was removed") {
            (heard != Heard::Removed, Heard::Removed)
        } else if text.starts_with("Your former assistant was removed") {
            (heard != Heard::Removed, Heard::Replaced)
        } else {
            return true;
        };
        heard = next;
        is_in_place
    })
}

fn has_notice_of_this_life(row: &Tenant) -> bool {
    row.reconcile.last_notice.is_some_and(|told| told != Notice::Removed)
}

/// What Stripe says now; a customer without a subscription keeps what was known.
fn expected(person: &Person) -> Option<Subscription> {
    person.truths.iter().rev().find_map(Clone::clone)
}

fn has_step(items: &[Value], name: &str) -> bool {
    items.iter().any(|item| item["step"] == name && item["outcome"] == "done")
}

pub(super) fn ensure(holds: bool, broke: &'static str, found: impl FnOnce() -> String) -> Result<(), Broken> {
    if holds { Ok(()) } else { Err((broke, found())) }
}
