//! Mutants, which are bugs put in on purpose: each breaks a promise that the code relies on, or does around the real
//! functions what careless ones would have done. The model test has to see every one of them.
//!
//! None of them is in production code. A proxy takes conditions off writes, or changes names; a vault pretends; a
//! second, naive webhook stands in for the real one; a hand writes or calls what the reconciler would not.

mod detection;

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::{HeaderMap, HeaderValue};
use nbhd::clock::Timestamp;
use nbhd::domain::ids::TenantId;
use nbhd::domain::late_effects::Recheck;
use nbhd::domain::subscription::{Subscription, Tier};
use nbhd::domain::tenant::{Lifecycle, Tenant, TenantRecord, Tombstone};
use nbhd::providers::azure::credential;
use nbhd::providers::azure::resource_manager::{self, KEY_VAULT_SECRETS_USER};
use nbhd::providers::stripe;
use nbhd::queue::LifecycleJob;
use nbhd::store::BillingUpdate;
use nbhd_sim::arm::ACCOUNT;
use nbhd_sim::azure::{Azure, VAULT};
use nbhd_sim::key_vault::{Failure, Operation};
use nbhd_sim::server::Server;
use nbhd_sim::stripe::PLUS;
use nbhd_sim::testbed::Testbed;
use serde_json::{Value, json};

use super::observer::{Record, runs};
use super::proxy;
use super::world::World;

/// One bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mutant {
    /// A row is written whatever its version is by then.
    SkipsTheFence,
    /// An event's content is applied unless a younger event, by its `created`, came before.
    OrdersByCreated,
    /// Stripe is asked first, and the row is read after that.
    ReadsTheRowAfterTheFetch,
    /// A deleted secret is not purged.
    ForgetsThePurge,
    /// The route is opened while the container is being made.
    ActivatesBeforeHealth,
    /// What is made is named anew each time.
    NamesNothingTwice,
    /// The container is stopped while messages still go there.
    StopsBeforeTheRoute,
    /// What is due is not looked at again.
    IgnoresWhatIsDue,
    /// The container's identity may read the whole vault.
    OpensTheWholeVault,
    /// A key is written into the record of a step.
    WritesASecretDown,
    /// What was removed is not rechecked.
    NeverRechecks,
    /// The receipt says that it was looked for, and then it is: whoever is stopped between the two never does.
    WritesTheReceiptFirst,
    /// Which runtime key a generation is made with is not recorded: it is taken for the newest one.
    RecordsNoKey,
    /// What an operator gave is not on the row for long.
    ForgetsTheGift,
    /// Every checkout offers a trial.
    OffersTheTrialAgain,
    /// A grant is revoked whoever else's connection uses it.
    RevokesForEverybody,
    /// The keys of Stripe's calls never change.
    RepeatsTheKey,
}

/// The mutant that a world runs with, or none.
pub(super) struct ActiveMutant {
    mutant: Option<Mutant>,
    /// The latest `created` that was applied, for each tenant.
    created: RefCell<HashMap<TenantId, i64>>,
    stripe: Option<stripe::Client>,
    arm: Option<resource_manager::Client>,
    _proxy: Option<Server>,
}

impl ActiveMutant {
    /// Changes the settings so that the functions meet the bug.
    pub(super) async fn start(mutant: Option<Mutant>, azure: &Azure, testbed: &mut Testbed) -> Self {
        let mut between = None;
        if mutant == Some(Mutant::SkipsTheFence) {
            let table = &testbed.settings()["AWS_ENDPOINT_URL_DYNAMODB"];
            let proxy = proxy::start(table, |_, _, _, body| forget_versions(body)).await;
            testbed.set("AWS_ENDPOINT_URL_DYNAMODB", proxy.base_url());
            between = Some(proxy);
        }
        if mutant == Some(Mutant::RevokesForEverybody) {
            let table = &testbed.settings()["AWS_ENDPOINT_URL_DYNAMODB"];
            let proxy = proxy::start(table, |_, _, _, body| hide_connections(body)).await;
            testbed.set("AWS_ENDPOINT_URL_DYNAMODB", proxy.base_url());
            between = Some(proxy);
        }
        if mutant == Some(Mutant::RepeatsTheKey) {
            let proxy =
                proxy::start(&testbed.settings()["STRIPE_API_URL"], |_, _, headers, _| repeat_key(headers)).await;
            testbed.set("STRIPE_API_URL", proxy.base_url());
            between = Some(proxy);
        }
        if mutant == Some(Mutant::NamesNothingTwice) {
            let (upstream, root) = testbed.settings()["MODEL_GATEWAY_URL"].split_once("/api").expect("a root");
            let (upstream, root) = (upstream.to_owned(), format!("/api{root}"));
            let made = AtomicU64::new(0);
            let proxy = proxy::start(&upstream, move |method, _, _, body| {
                if method == "POST" {
                    let number = made.fetch_add(1, Ordering::SeqCst);
                    body["name"] = json!(format!("key-{number}"));
                }
            })
            .await;
            testbed.set("MODEL_GATEWAY_URL", format!("{}{root}", proxy.base_url()));
            between = Some(proxy);
        }
        let env = testbed.env();
        let http = || nbhd::http::client_with_roots(Some(azure.authority.bundle())).expect("a client");
        let stripe = mutant.and_then(|_| stripe::Client::from_env(&env, http()).expect("settings"));
        let identity = || credential::from_env(&env, &http()).expect("settings");
        let arm = mutant.map(|_| resource_manager::Client::new(&env, &http(), &identity()).expect("settings"));
        Self { mutant, created: RefCell::default(), stripe, arm, _proxy: between }
    }

    /// Whether the bug shows only where something is left after a removal, which is rare.
    pub(super) fn hides_in_late_effects(&self) -> bool {
        matches!(self.mutant, Some(Mutant::NeverRechecks | Mutant::WritesTheReceiptFirst))
    }

    /// Whether what is due is looked for.
    pub(super) fn allows_sweep(&self) -> bool {
        self.mutant != Some(Mutant::IgnoresWhatIsDue)
    }

    /// Stands in for the webhook; the status of its answer.
    pub(super) async fn apply_event(&self, world: &World, body: &[u8]) -> Option<u16> {
        let event: Value = serde_json::from_slice(body).expect("JSON");
        let customer = event["data"]["object"]["customer"].as_str().unwrap_or_default();
        let tenant = match self.mutant? {
            Mutant::OrdersByCreated => self.apply_by_created(world, &event, customer).await,
            Mutant::ReadsTheRowAfterTheFetch => self.apply_after_fetch(world, customer).await,
            Mutant::SkipsTheFence
            | Mutant::ForgetsThePurge
            | Mutant::ActivatesBeforeHealth
            | Mutant::NamesNothingTwice
            | Mutant::StopsBeforeTheRoute
            | Mutant::IgnoresWhatIsDue
            | Mutant::OpensTheWholeVault
            | Mutant::WritesASecretDown
            | Mutant::NeverRechecks
            | Mutant::WritesTheReceiptFirst
            | Mutant::RecordsNoKey
            | Mutant::ForgetsTheGift
            | Mutant::OffersTheTrialAgain
            | Mutant::RevokesForEverybody
            | Mutant::RepeatsTheKey => return None,
        };
        // Of a removed tenant it knows nothing: the real one does.
        let tenant = tenant?;
        let id = event["id"].as_str().expect("an id");
        let (read_version, customer) = (Some(tenant.version), tenant.customer.clone());
        let stripe_ids = customer.iter().map(String::as_str).collect();
        let tenant_id = tenant.tenant_id;
        let billing = BillingUpdate { tenant, read_version, stripe_ids, event: Some(id) };
        let saved = world.store.save_billing(billing, world.clock.now()).await;
        let is_queued = world.lifecycle.send(&LifecycleJob::Reconcile { tenant_id }).await.is_ok();
        Some(if saved.is_ok() && is_queued { 200 } else { 503 })
    }

    async fn apply_by_created(&self, world: &World, event: &Value, customer: &str) -> Option<Tenant> {
        let tenant = live(world, customer).await?;
        let (object, created) = (&event["data"]["object"], event["created"].as_i64()?);
        let mut latest = self.created.borrow_mut();
        let latest = latest.entry(tenant.tenant_id).or_default();
        if created < *latest || object["object"] != "subscription" {
            return Some(tenant);
        }
        *latest = created;
        let at = |value: &Value| value.as_i64().map(Timestamp::from_seconds);
        let item = &object["items"]["data"][0];
        let status = object["status"].as_str()?.parse().ok()?;
        let subscription = Subscription {
            id: object["id"].as_str()?.to_owned(),
            status,
            tier: if item["price"]["id"] == PLUS { Tier::Plus } else { Tier::Basic },
            unpaid_since: (object["status"] == "past_due").then(|| at(&event["created"])).flatten(),
            ended_at: at(&object["ended_at"]),
            current_period_end: at(&item["current_period_end"]),
            past_due_since: None,
            ends_at: at(&object["cancel_at"]),
        };
        Some(Tenant { subscription: Some(subscription), ..tenant })
    }

    async fn apply_after_fetch(&self, world: &World, customer: &str) -> Option<Tenant> {
        let snapshot = self.stripe.as_ref()?.fetch_subscription(customer, None, world.clock.now()).await.ok()?;
        let tenant = live(world, customer).await?;
        Some(Tenant { subscription: snapshot.subscription.or(tenant.subscription), ..tenant })
    }

    /// Does, after an invocation, what a careless function would have done in it.
    pub(super) async fn act_after(&self, world: &World, number: usize) {
        let (tenant, chat, names) = world.with(number, |person| (person.tenant, person.chat, person.names.clone()));
        let Some(mutant) = self.mutant else { return };
        let row = match world.observer.record(tenant) {
            Record::Live(row) => row,
            Record::Deleted(left) if mutant == Mutant::NeverRechecks && left.recheck.at.is_some() => {
                let version = left.version;
                let recheck = Recheck { at: None, ..left.recheck.clone() };
                let _ = world.store.save_tombstone(&Tombstone { recheck, ..*left }, version).await;
                return;
            }
            Record::Deleted(_) | Record::Nothing => return,
        };
        let is_open = world.observer.route(chat).is_some_and(|route| route["status"] == "active");
        let resources = &row.reconcile.resources;
        match mutant {
            Mutant::ForgetsThePurge => world.azure.vault.faults.fail_next(Operation::Purge, Failure::FalseSuccess),
            Mutant::ActivatesBeforeHealth if row.lifecycle == Lifecycle::Provisioning => {
                write(world, &format!("CHAT#{chat}"), "ROUTE", "status");
                write(world, &format!("TENANT#{tenant}"), "META", "lifecycle");
            }
            Mutant::StopsBeforeTheRoute if is_open && !runs(&row, world.clock.now()) => {
                let group = world.azure.arm.group();
                let _ = self.arm.as_ref().expect("a client").stop_app(&group, &names.resource).await;
            }
            Mutant::OpensTheWholeVault => {
                let Some(identity) = &resources.identity else { return };
                let scope = world.azure.arm.group().vault_secret(VAULT, "");
                let scope = scope.as_str().trim_end_matches("/secrets/");
                let id = format!("{scope}/providers/Microsoft.Authorization/roleAssignments/{tenant}");
                let role = format!("/providers/Microsoft.Authorization/roleDefinitions/{KEY_VAULT_SECRETS_USER}");
                let principal = &identity.principal_id;
                let properties = json!({ "roleDefinitionId": role, "principalId": principal, "scope": scope });
                world.azure.arm.creates(&id, json!({ "properties": properties }));
            }
            Mutant::WritesASecretDown => {
                let Some(bundle) = world.azure.vault.value(&names.secret) else { return };
                let bundle: Value = serde_json::from_str(&bundle).expect("JSON");
                let (partition, key) = (format!("TENANT#{tenant}"), &bundle["internal_key"]);
                let item = json!({ "pk": { "S": partition }, "sk": { "S": "STEP#0" }, "detail": { "S": key } });
                world.table.put(json!({ "TableName": nbhd_sim::table::NAME, "Item": item })).expect("written");
            }
            Mutant::ForgetsTheGift if row.gift.is_some() => {
                let version = row.version;
                let _ = world.store.save_tenant(&Tenant { gift: None, ..*row }, Some(version)).await;
            }
            Mutant::ActivatesBeforeHealth
            | Mutant::RecordsNoKey
            | Mutant::ForgetsTheGift
            | Mutant::OffersTheTrialAgain
            | Mutant::RevokesForEverybody
            | Mutant::RepeatsTheKey
            | Mutant::NeverRechecks
            | Mutant::WritesTheReceiptFirst
            | Mutant::StopsBeforeTheRoute
            | Mutant::SkipsTheFence
            | Mutant::OrdersByCreated
            | Mutant::ReadsTheRowAfterTheFetch
            | Mutant::NamesNothingTwice
            | Mutant::IgnoresWhatIsDue => {}
        }
    }
}

impl ActiveMutant {
    /// Does, before an invocation, what a careless function would have done at its beginning: it writes that a removed
    /// tenant was looked for, and then looks, unless it is stopped between the two.
    pub(super) async fn act_before(&self, world: &World, number: usize) {
        let (tenant, names) = world.with(number, |person| (person.tenant, person.names.clone()));
        let now = world.clock.now();
        let Record::Deleted(left) = world.observer.record(tenant) else { return };
        let is_due = left.recheck.at.is_some_and(|at| at <= now);
        if self.mutant != Some(Mutant::WritesTheReceiptFirst) || !is_due {
            return;
        }
        let (mut written, version) = (left.clone(), left.version);
        written.recheck.done(now);
        let _ = world.store.save_tombstone(&written, version).await;
        if !world.chance.percent(50) {
            let (group, arm) = (world.azure.arm.group(), self.arm.as_ref().expect("a client"));
            let _ = arm.delete_share(&group, ACCOUNT, &names.resource).await;
            let _ = arm.delete_identity(&group, &names.resource).await;
        }
    }
}

impl ActiveMutant {
    /// Does, when another list of runtime keys is in force, what rows without the key's id would amount to.
    pub(super) async fn forget_key(&self, world: &World, number: usize) {
        let tenant = world.with(number, |person| person.tenant);
        let Record::Live(row) = world.observer.record(tenant) else { return };
        if self.mutant != Some(Mutant::RecordsNoKey) {
            return;
        }
        let (newest, version, mut row) = (Some(world.deployments.keys().newest().id()), row.version, *row);
        let resources = &mut row.reconcile.resources;
        let made = resources.keys.iter_mut().chain(&mut resources.former_keys).map(|keys| &mut keys.generation);
        let all = made.chain([&mut row.generation]).chain(&mut row.other_generation);
        all.filter(|generation| generation.key.is_some()).for_each(|generation| generation.key = newest);
        let _ = world.store.save_tenant(&row, Some(version)).await;
    }

    /// Stands in for the page on which a checkout begins: the address of Stripe's.
    pub(super) async fn sell(&self, world: &World, number: usize, tier: Tier) -> Option<String> {
        let stripe = self.stripe.as_ref().filter(|_| self.mutant == Some(Mutant::OffersTheTrialAgain))?;
        world.sell_carelessly(stripe, number, tier).await
    }
}

/// The tenant of a customer.
async fn live(world: &World, customer: &str) -> Option<Tenant> {
    let tenant = world.store.find_tenant(customer).await.ok()??;
    match world.store.tenant_record(tenant).await.ok()?? {
        TenantRecord::Live(tenant) => Some(*tenant),
        TenantRecord::Deleted(_) => None,
    }
}

/// Makes an attribute of an item `active`, past every condition.
fn write(world: &World, partition: &str, sort: &str, attribute: &str) {
    let Some(mut item) = world.table.item(partition, sort).expect("a table") else { return };
    item[attribute] = json!({ "S": "active" });
    world.table.put(json!({ "TableName": nbhd_sim::table::NAME, "Item": item })).expect("written");
}

/// Takes away from a request for an account's connections what it asks for.
fn hide_connections(request: &mut Value) {
    let account = request.pointer_mut("/ExpressionAttributeValues/:account/S");
    if let Some(account) = account.filter(|account| account.as_str().is_some_and(|text| text.starts_with("GRANT#"))) {
        *account = json!("GRANT#nobody");
    }
}

/// Takes from a call's key what tells a later attempt from an earlier one.
fn repeat_key(headers: &mut HeaderMap) {
    let key = headers.get("idempotency-key").and_then(|key| key.to_str().ok()?.rsplit_once('-'));
    let key = key.and_then(|(key, _)| HeaderValue::from_str(key).ok());
    key.map(|key| headers.insert("idempotency-key", key));
}

/// Takes conditions on versions off a write.
fn forget_versions(request: &mut Value) {
    let forget = |write: &mut Value| {
        if write["ConditionExpression"] == "version = :read"
            && let Some(fields) = write.as_object_mut()
        {
            fields.remove("ConditionExpression");
            fields.remove("ExpressionAttributeValues");
        }
    };
    forget(request);
    for item in request["TransactItems"].as_array_mut().into_iter().flatten() {
        forget(&mut item["Put"]);
    }
}
