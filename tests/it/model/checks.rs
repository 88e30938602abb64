//! What is held to be true after each invocation, and the end that every history must come to.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::time::Duration;

use nbhd::domain::ids::TenantId;
use nbhd::domain::plan::Part;
use nbhd::domain::route::RouteStatus;
use nbhd::domain::subscription::{Entitlement, Subscription};
use nbhd::domain::tenant::{Lifecycle, Tenant, Tombstone};
use nbhd_sim::azure::VAULT;
use nbhd_sim::sqs::LIFECYCLE;
use serde_json::Value;
use tenant_reconcile::Report;

use super::person::Person;
use super::watch::{Record, plain, runs};
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

impl World {
    pub(super) fn begins(&self, number: usize) -> Before {
        let truth = self.hears(number);
        let (tenant, chat) = self.with(number, |person| (person.tenant, person.chat));
        self.watch.follows(tenant, chat);
        self.count(|counts| counts.invocations += 1);
        self.journal.clear();
        Before { truth, synced: self.synced(tenant), told: self.telegram.texts_to(chat).len() }
    }

    fn synced(&self, tenant: TenantId) -> Option<nbhd::clock::Timestamp> {
        match self.watch.record(tenant) {
            Record::Live(tenant) => tenant.work.synced_at,
            Record::Gone(_) | Record::Nothing => None,
        }
    }

    /// After an invocation that was left alone, or `is_disturbed`.
    pub(super) async fn ends(&self, number: usize, before: &Before, is_disturbed: bool, report: Option<Report>) {
        self.planted.acts(self, number).await;
        self.hears(number);
        let (tenant, chat) = self.with(number, |person| (person.tenant, person.chat));
        self.watch.looks_at(tenant, chat);
        let told = self.telegram.texts_to(chat).len();
        if is_disturbed {
            self.with(number, |person| person.excused += told - before.told);
        }
        let Record::Live(row) = self.watch.record(tenant) else { return };
        if row.work.synced_at.is_some() && row.work.synced_at != before.synced {
            self.with(number, |person| person.floor = person.floor.max(before.truth));
        }
        self.with(number, |person| self.word_is_not_stale(person, &row));
        let now = self.clock.now();
        let is_open = self.watch.route(chat).is_some_and(|route| route["status"] == "active");
        let asks_stripe = row.work.unanswered.as_ref().is_some_and(|unanswered| unanswered.until > now);
        let has_worked = report.is_some_and(|report| report.converged + report.waiting > 0);
        if has_worked && !is_disturbed && is_open && !runs(&row, now) && !asks_stripe {
            self.watch.breaks(tenant, "worked on, and still a route to a tenant not entitled");
        }
        self.only_its_own_container_reads(number);
    }

    /// The row holds a word that Stripe gave, and none older than the last one that was taken down.
    fn word_is_not_stale(&self, person: &Person, row: &Tenant) {
        let possible = &person.truths[person.floor.min(person.truths.len())..];
        let says = |truth: &Option<Subscription>| truth.is_none() || *truth == row.subscription;
        if !possible.iter().any(says) && row.subscription != expected(person) {
            let why = format!("the row holds an old word: {:?}, possible are {possible:?}", row.subscription);
            self.watch.breaks(person.tenant, why);
        }
    }

    fn only_its_own_container_reads(&self, number: usize) {
        let (tenant, names) = self.with(number, |person| (person.tenant, person.names.clone()));
        let readers = self.azure.arm.readers(VAULT, &names.secret);
        if readers.is_empty() {
            return;
        }
        let identity = self.azure.arm.group().identity(&names.resource).to_string();
        let own = self.azure.arm.resource(&identity);
        let own = own.as_ref().and_then(|identity| identity["properties"]["principalId"].as_str());
        if readers.len() > 1 || own.is_some_and(|own| readers[0] != own) {
            self.watch.breaks(tenant, "another identity can read the runtime's secret");
        }
    }

    /// Faults stop, and time passes.
    pub(super) async fn heals(&self) {
        self.is_calm.set(true);
        self.delivers().await;
        self.works_off(HOUR).await;
        self.clock.advance(HEALED_AFTER);
        for _ in 0..60 {
            self.collects();
            self.delivers().await;
            let due = if self.planted.sweeps() { tenant_reconcile::sweep(&self.reconciler).await.due } else { 0 };
            self.works_off(70 * MINUTE).await;
            if self.violation().is_some() {
                return;
            }
            let is_quiet = self.sqs.messages(LIFECYCLE).is_empty() && !self.has_mail();
            if due == 0 && is_quiet {
                return;
            }
        }
    }

    /// Every history came to its end, and nothing is left over.
    pub(super) fn ended(&self) {
        let mut resources = Vec::new();
        let (mut keys, mut secrets) = (Vec::new(), Vec::new());
        let items = self.items();
        for number in 0..PEOPLE {
            self.hears(number);
            let people = self.people.borrow();
            let person = &people[number];
            let own = items.get(&format!("TENANT#{}", person.tenant)).map(Vec::as_slice).unwrap_or_default();
            let Err(why) = self.has_ended(person, own) else {
                if let Record::Live(row) = self.watch.record(person.tenant) {
                    resources.extend(self.resources_of(person, &row));
                    // Both generations stay while a rotation is interrupted by a suspension.
                    let known = &row.work.resources;
                    for of in known.keys.iter().chain(&known.former_keys) {
                        keys.push((person.names.model_key(of.generation), row.lifecycle != Lifecycle::Active));
                    }
                    secrets.extend(known.keys.as_ref().map(|_| person.names.secret.clone()));
                }
                continue;
            };
            return self.watch.breaks(person.tenant, why);
        }
        let nobody = self.people.borrow()[0].tenant;
        let there: Vec<String> = self.azure.arm.resources().into_iter().map(|held| held.id.to_lowercase()).collect();
        let held: Vec<_> = self.gateway.keys().into_iter().map(|key| (key.name, key.disabled)).collect();
        let names = self.azure.vault.names();
        for (place, differs) in [
            ("Azure", difference(there, resources)),
            ("the gateway", difference(held, keys)),
            ("the vault", difference(names, secrets)),
        ] {
            if let Some(differs) = differs {
                self.watch.breaks(nobody, format!("{place} {differs}"));
            }
        }
    }

    /// What there is of a tenant: everything while it is active, and what was made by then when it was suspended.
    fn resources_of(&self, person: &Person, row: &Tenant) -> Vec<String> {
        use nbhd_sim::arm::{ACCOUNT, ENVIRONMENT};
        let (group, name, known) = (self.azure.arm.group(), &person.names.resource, &row.work.resources);
        let secret = group.vault_secret(VAULT, &person.names.secret);
        let role = format!("{secret}/providers/Microsoft.Authorization/roleAssignments/{}", person.names.role);
        let is_active = row.lifecycle == Lifecycle::Active;
        let all = [
            (group.identity(name).to_string(), known.identity.is_some()),
            (group.share(ACCOUNT, name).to_string(), known.share),
            (group.storage(ENVIRONMENT, name).to_string(), known.storage),
            (group.app(name).to_string(), known.app.is_some()),
            (role, known.reader.is_some()),
        ];
        all.into_iter().filter(|(_, is_made)| *is_made || is_active).map(|(id, _)| id.to_lowercase()).collect()
    }

    fn has_ended(&self, person: &Person, items: &[Value]) -> Result<(), String> {
        self.is_told_in_turn(person)?;
        self.holds_no_secret(person, items)?;
        match self.watch.record(person.tenant) {
            Record::Nothing if person.customer.is_none() => Ok(()),
            Record::Nothing => Err("there is no row for a customer".to_owned()),
            Record::Gone(left) => self.is_buried(person, &left, items),
            Record::Live(row) => self.is_as_entitled(person, &row, items),
        }
    }

    fn is_buried(&self, person: &Person, left: &Tombstone, items: &[Value]) -> Result<(), String> {
        let truth = expected(person);
        let runs = |known: &Subscription| matches!(known.entitlement(self.clock.now()), Entitlement::Run { .. });
        let is_over = !truth.as_ref().is_some_and(runs);
        ensure(is_over, || format!("a tombstone, and Stripe says {truth:?}"))?;
        let said = |part: Part| left.receipt.iter().any(|line| line.what == part.as_str());
        let was_built = said(Part::App);
        let is_whole = Part::ALL.into_iter().filter(|part| was_built || !part.is_in_shard()).all(said);
        ensure(is_whole, || format!("the receipt is not whole: {:?}", left.receipt))?;
        ensure(items.len() == 1, || format!("more than a receipt is left: {items:#?}"))?;
        ensure(self.watch.route(person.chat).is_none(), || "a route to nobody".to_owned())
    }

    fn is_as_entitled(&self, person: &Person, row: &Tenant, items: &[Value]) -> Result<(), String> {
        let (now, work) = (self.clock.now(), &row.work);
        let truth = expected(person);
        let is_known = truth.is_none() || truth == row.subscription;
        ensure(is_known, || format!("the row holds {:?}, and Stripe says {truth:?}", row.subscription))?;
        let expected = match row.entitlement(now) {
            Entitlement::Run { .. } => Lifecycle::Active,
            Entitlement::Suspend { .. } | Entitlement::Pending if work.shard.is_some() || work.told.is_some() => {
                Lifecycle::Suspended
            }
            Entitlement::Suspend { .. } | Entitlement::Pending => Lifecycle::Pending,
            Entitlement::Remove => return Err(format!("it was to be removed, and is {:?}", row.lifecycle)),
        };
        ensure(row.lifecycle == expected, || {
            format!("it is {:?} and ought to be {expected:?}: {:#?}", row.lifecycle, row.work)
        })?;
        ensure(work.last_error.is_none(), || format!("a failure is left: {:?}", work.last_error))?;
        ensure(work.lease.is_none(), || format!("a worker holds it: {:?}", work.lease))?;
        ensure(row.due.as_ref().is_some_and(|due| due.at > now), || format!("not looked at again: {:?}", row.due))?;
        let route = self.watch.route(person.chat);
        let status = route.as_ref().and_then(|route| route["status"].as_str()).unwrap_or("none");
        let app = self.azure.arm.app(&person.names.resource);
        if expected == Lifecycle::Active {
            ensure(status == RouteStatus::Active.as_str(), || format!("active, and its route is {status}"))?;
            let app = app.ok_or("active, and there is no container")?;
            ensure(!app.is_stopped, || "active, and its container is stopped".to_owned())?;
            let value = self.azure.arm.secret_value(&app, "runtime");
            ensure(value.is_some(), || "its container cannot read its secret".to_owned())?;
            ensure(row.key_hashes.len() == 1 && row.other_generation.is_none(), || "a rotation goes on".to_owned())?;
            for step in ["provision", "put_app", "check_health", "activate"] {
                ensure(has_step(items, step), || format!("nothing says that the step `{step}` was done"))?;
            }
        } else {
            ensure(status != RouteStatus::Active.as_str(), || "not entitled, and its route is active".to_owned())?;
            ensure(app.is_none_or(|app| app.is_stopped), || "not entitled, and its container runs".to_owned())?;
        }
        Ok(())
    }

    /// What is said comes once each time it comes true; once more when the work that said it was cut short.
    fn is_told_in_turn(&self, person: &Person) -> Result<(), String> {
        let told = self.telegram.texts_to(person.chat);
        let repeated = told.windows(2).filter(|pair| pair[0] == pair[1]).count();
        ensure(repeated <= person.excused, || format!("{repeated} repeats, {} excused: {told:#?}", person.excused))
    }

    fn holds_no_secret(&self, person: &Person, items: &[Value]) -> Result<(), String> {
        let Some(bundle) = self.azure.vault.value(&person.names.secret) else { return Ok(()) };
        let bundle: Value = serde_json::from_str(&bundle).map_err(|error| error.to_string())?;
        let text = Value::from(items.to_vec()).to_string();
        for name in ["internal_key", "webhook_secret", "relay_token", "gateway_token", "model_key"] {
            let secret = bundle[name].as_str().ok_or_else(|| format!("the secret lacks `{name}`"))?;
            ensure(!text.contains(secret), || format!("a row holds `{name}`"))?;
        }
        Ok(())
    }

    /// Every item there is, by its partition.
    fn items(&self) -> BTreeMap<String, Vec<Value>> {
        let mut items = BTreeMap::<String, Vec<Value>>::new();
        for item in self.table.items().expect("a table").iter().map(plain) {
            let partition = item["pk"].as_str().unwrap_or_default().to_owned();
            items.entry(partition).or_default().push(item);
        }
        items
    }
}

/// What Stripe says now; a customer without a subscription keeps what was known.
fn expected(person: &Person) -> Option<Subscription> {
    person.truths.iter().rev().find_map(Clone::clone)
}

/// What is there and ought not to be, and what ought to be there and is not.
fn difference<T: Ord + Debug>(is: Vec<T>, ought: Vec<T>) -> Option<String> {
    let (is, ought): (BTreeSet<T>, BTreeSet<T>) = (is.into_iter().collect(), ought.into_iter().collect());
    let (left, lacks): (Vec<_>, Vec<_>) = (is.difference(&ought).collect(), ought.difference(&is).collect());
    let is_none = left.is_empty() && lacks.is_empty();
    (!is_none).then(|| format!("holds what it ought not to: {left:#?}, and lacks {lacks:#?}"))
}

fn has_step(items: &[Value], name: &str) -> bool {
    items.iter().any(|item| item["step"] == name && item["outcome"] == "done")
}

fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}
