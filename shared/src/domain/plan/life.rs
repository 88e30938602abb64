//! A tenant's whole life by `plan` and `record_outcome` alone: nothing is called, every answer is drawn.
//!
//! After each step the tenant has a next one, a time to wait for, or is as intended; and a life that is no longer paid
//! for ends with a receipt of every part.

use proptest::prelude::*;

use super::*;
use crate::domain::gift::Gift;
use crate::domain::ids::{ChatId, TenantId};
use crate::domain::reconcile_status::RemovedPart;
use crate::domain::resources::{AppChange, Identity, Keys, Operation};
use crate::domain::secrets::KeyHash;
use crate::domain::shard::Shard;
use crate::domain::step_error::{StepError, WaitReason};
use crate::domain::subscription::{Status, Subscription, Tier};
use crate::domain::tenant::TenantRecord;

const BEGINNING: Timestamp = Timestamp::from_seconds(1_800_000_000);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// More steps than all the answers that are drawn and then a whole life need.
const MOST_STEPS: usize = 500;

/// What the world does next.
#[derive(Clone, Debug)]
enum Event {
    /// Stripe's status changes, and we hear of it.
    Status(Status),
    /// An operator holds the tenant, or lets it go.
    Held(bool),
    /// An operator gives it an assistant for so many hours, or none from now on.
    Gift(u32),
    /// An operator asks for new keys.
    Rotation,
    /// So many newer runtime keys are listed, each in place of an older one.
    Roll(u8),
    /// There is a newer release.
    Release(u8),
    /// Time passes.
    Hours(u32),
}

/// How a step ends.
#[derive(Clone, Copy, Debug)]
enum Answer {
    /// As it should.
    Done,
    /// It waits a while.
    Waits,
    /// It fails, for good or without an answer.
    Fails(bool),
    /// Azure accepts it and fails later; or, for other steps, it is done.
    FailsLater,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => prop::sample::select(Status::ALL.to_vec()).prop_map(Event::Status),
        1 => any::<bool>().prop_map(Event::Held),
        1 => (0..200_u32).prop_map(Event::Gift),
        1 => Just(Event::Rotation),
        1 => (1..3_u8).prop_map(Event::Roll),
        1 => (0..4_u8).prop_map(Event::Release),
        4 => (0..400_u32).prop_map(Event::Hours),
    ]
}

fn answer() -> impl Strategy<Value = Answer> {
    prop_oneof![
        12 => Just(Answer::Done),
        1 => Just(Answer::Waits),
        2 => any::<bool>().prop_map(Answer::Fails),
        1 => Just(Answer::FailsLater),
    ]
}

/// The world as far as a tenant's plan can tell: what Stripe says, what is drawn, and the time.
struct World {
    now: Timestamp,
    subscription: Subscription,
    release: u8,
    rolls: u8,
    /// How the next steps end; all later ones end as they should.
    answers: std::vec::IntoIter<Answer>,
}

impl World {
    fn spec(&self) -> Spec {
        // Two runtime keys are listed: the newest, and the one before.
        let key = |age: u8| format!("k{}", self.rolls.saturating_sub(age)).parse().expect("an id");
        Spec {
            release: format!("r{}", self.release),
            fingerprint: "parameters".to_owned(),
            limit_cents: 500,
            newest_key: key(0),
            older_keys: vec![key(1)],
        }
    }

    /// Does what is planned until nothing is left to do now, and follows every wait; the time passes meanwhile.
    fn run_until_idle(&mut self, tenant: Tenant) -> Result<TenantRecord, TestCaseError> {
        let mut tenant = tenant;
        for _ in 0..MOST_STEPS {
            let plan = plan(&tenant, &self.spec(), self.now);
            let Some(step) = plan.next(self.now).copied() else {
                let Some(until) = plan.not_before.filter(|_| !plan.steps.is_empty()) else {
                    let rests = plan.next_check_at.is_some() || tenant.customer.is_none();
                    prop_assert!(rests, "{:?} is at rest and never checked again", tenant.lifecycle);
                    return Ok(TenantRecord::Live(Box::new(tenant)));
                };
                prop_assert!(until > self.now, "{:?} waits for a time that is over", plan.steps);
                self.now = until;
                continue;
            };
            let outcome = self.outcome(&tenant, step);
            match record_outcome(tenant, step, &outcome, self.now) {
                TenantRecord::Live(next) => tenant = *next,
                removed @ TenantRecord::Deleted(_) => return Ok(removed),
            }
        }
        let left = names(&plan(&tenant, &self.spec(), self.now));
        Err(TestCaseError::fail(format!("{:?} never comes to rest: {left:?}", tenant.lifecycle)))
    }

    fn outcome(&mut self, tenant: &Tenant, step: Step) -> Outcome {
        let (now, answer) = (self.now, self.answers.next().unwrap_or(Answer::Done));
        let failed = |error| Outcome::Failed { error, retry_after: None, began: now };
        match answer {
            Answer::Waits if step.scope() != StepScope::OurTable => {
                Outcome::Waiting { reason: WaitReason::AppBusy, until: now + Duration::from_secs(10) }
            }
            Answer::Fails(true) if step.scope() != StepScope::OurTable || step == Step::Sync => {
                failed(StepError::NoAnswer)
            }
            Answer::Fails(false) if step.scope() != StepScope::OurTable => {
                failed(StepError::Refused { status: 400, code: "bad".to_owned() })
            }
            Answer::FailsLater if step == Step::AwaitOperation => {
                Outcome::Done(Learned::OperationFailed { code: "late".to_owned() })
            }
            Answer::Done | Answer::Waits | Answer::Fails(_) | Answer::FailsLater => {
                Outcome::Done(self.learned(tenant, step))
            }
        }
    }

    fn learned(&self, tenant: &Tenant, step: Step) -> Learned {
        let started = |change| {
            let (handle, poll_at) = (String::new(), self.now + Duration::from_secs(5));
            Learned::OperationStarted(Operation { change, handle, poll_at })
        };
        match step {
            Step::ChangeLifecycle(lifecycle) => {
                Learned::LifecycleChanged { lifecycle, newest_key: self.spec().newest_key }
            }
            Step::Sync => {
                Learned::SubscriptionFetched { subscription: Some(self.subscription.clone()), has_trialed: false }
            }
            Step::Observe => Learned::Observed(finding(tenant, self.now)),
            Step::RemoveLeftovers => Learned::LeftoversRemoved,
            Step::ChooseShard => {
                let [azure_subscription, account, vault, vault_url] = ["s", "a", "v", "https://v"].map(str::to_owned);
                Learned::ShardChosen(Shard { azure_subscription, account, vault, vault_url })
            }
            Step::MakeIdentity => Learned::IdentityMade(Identity { principal_id: "p".to_owned() }),
            Step::BeginRotation(key) => Learned::RotationStarted(key),
            Step::ChooseKey(key) => Learned::KeyChosen(key),
            Step::WriteKeys { generation, limit_cents } => Learned::KeysWritten(Keys {
                generation,
                secret_version: generation.to_string(),
                internal: KeyHash::from_key(&generation.to_string()),
                model_key: format!("k{generation}"),
                limit_cents,
                disabled: false,
            }),
            Step::SetModelKey { disabled, limit_cents } => Learned::ModelKeysSet { disabled, limit_cents },
            Step::GrantRole => Learned::RoleGranted { principal_id: "p".to_owned() },
            Step::MakeShare => Learned::ShareMade,
            Step::MakeStorage => Learned::StorageMade,
            Step::ChooseRelease => {
                let release = self.spec().release;
                let holds_slot = tenant.reconcile.resources.app.as_ref().is_some_and(|app| app.running);
                Learned::ReleaseChosen { newest: release.clone(), release, holds_slot }
            }
            Step::AwaitOperation => self.operation_ended(tenant),
            Step::StopApp => started(AppChange::Stop),
            Step::AwaitNoReplica => Learned::AppDrained,
            Step::PutApp => {
                let release = tenant.reconcile.release.clone().unwrap_or_default();
                started(AppChange::Put { fingerprint: self.spec().fingerprint, release })
            }
            Step::StartApp => started(AppChange::Start),
            Step::CheckHealth => Learned::AppHealthy,
            Step::Activate => Learned::Activated,
            Step::EndRotation => Learned::RotationEnded,
            Step::DropFormerKeys => Learned::FormerKeysDropped { found: true },
            Step::FreeRolloutSlot { healthy: true } => Learned::RolloutSlotFreed,
            Step::FreeRolloutSlot { healthy: false } => {
                Learned::RolledBack { failed: self.spec().release, release: Some("r-before".to_owned()) }
            }
            Step::Notify(notice) => Learned::PersonNotified(notice),
            Step::Remove(part) => Learned::PartRemoved { part, purged_by: None },
            Step::Finalize if tenant.entitlement(self.now) == Entitlement::Remove => Learned::LifeEnded,
            Step::Finalize => Learned::LifeRestarted,
        }
    }

    fn operation_ended(&self, tenant: &Tenant) -> Learned {
        let resources = &tenant.reconcile.resources;
        let change = resources.operation.as_ref().map(|operation| operation.change.clone());
        let Some(change) = change else { return Learned::AppMissing };
        let running = match change {
            AppChange::Put { .. } => resources.app.as_ref().is_none_or(|app| app.running),
            AppChange::Start => true,
            AppChange::Stop | AppChange::Delete => false,
        };
        Learned::AppChanged { change, running, fqdn: Some("host".to_owned()), failure: None }
    }
}

/// That everything is as the row says.
fn finding(tenant: &Tenant, began: Timestamp) -> Finding {
    let resources = &tenant.reconcile.resources;
    let state = |keys: &Keys| ModelKeyState { limit_cents: Some(keys.limit_cents), disabled: keys.disabled };
    let app = resources.app.as_ref().map(|app| ObservedApp {
        running: app.running,
        fqdn: app.fqdn.clone(),
        has_drifted: false,
        is_changing: false,
    });
    Finding {
        began,
        identity: resources.identity.clone(),
        secret_reader: resources.secret_reader.clone(),
        share: resources.share,
        storage: resources.storage,
        secret_intact: true,
        model_key: resources.keys.as_ref().map(state),
        former_model_key: resources.former_keys.as_ref().map(state),
        app,
    }
}

fn names(plan: &Plan) -> Vec<&'static str> {
    plan.steps.iter().map(|step| step.name().as_str()).collect()
}

fn subscription(status: Status, now: Timestamp) -> Subscription {
    let has_ended = matches!(status, Status::Canceled | Status::IncompleteExpired);
    Subscription {
        id: "sub_1".to_owned(),
        status,
        tier: Tier::Basic,
        unpaid_since: (status == Status::PastDue).then_some(now),
        ended_at: has_ended.then_some(now),
        current_period_end: None,
        past_due_since: None,
        ends_at: None,
    }
}

proptest! {
    #[test]
    fn every_state_has_a_next_step_or_is_at_rest_and_every_life_ends_removed(
        events in prop::collection::vec(event(), 0..12),
        answers in prop::collection::vec(answer(), 0..300),
    ) {
        let mut world = World {
            now: BEGINNING,
            subscription: subscription(Status::Active, BEGINNING),
            release: 0,
            rolls: 0,
            answers: answers.into_iter(),
        };
        let mut tenant = Tenant::new(TenantId::random(), ChatId(1));
        tenant.customer = Some("cus_1".to_owned());
        tenant.subscription = Some(world.subscription.clone());
        for event in events {
            match event {
                Event::Status(status) => {
                    world.subscription = subscription(status, world.now);
                    tenant.subscription = Some(world.subscription.clone());
                }
                Event::Held(held) => tenant.held = held,
                Event::Gift(hours) => {
                    let until = world.now + Duration::from_secs(3600) * hours;
                    tenant.gift = Some(Gift { until, tier: Tier::Plus });
                }
                Event::Rotation => tenant.rotation_requested = true,
                Event::Roll(newer) => world.rolls += newer,
                Event::Release(release) => world.release = release,
                Event::Hours(hours) => world.now = world.now + Duration::from_secs(3600) * hours,
            }
            let gift = tenant.gift;
            tenant = match world.run_until_idle(tenant)? {
                TenantRecord::Live(tenant) => {
                    let next = next_lifecycle(tenant.lifecycle, tenant.entitlement(world.now));
                    // On an old snapshot nobody is suspended or removed: Stripe is asked first.
                    let waits_for_stripe = tenant.reconcile.stripe_backoff.is_some();
                    prop_assert!(tenant.lifecycle == next || waits_for_stripe, "{:?}, not {next:?}", tenant.lifecycle);
                    let is_usable = tenant.generations().all(|generation| world.spec().lists(generation.key));
                    prop_assert!(tenant.lifecycle != Lifecycle::Active || is_usable, "{}", tenant.generation);
                    *tenant
                }
                TenantRecord::Deleted(tombstone) => {
                    prop_assert!(gift.is_none_or(|gift| !gift.is_running(world.now)), "removed while a gift runs");
                    world.subscription = subscription(Status::Active, world.now);
                    tombstone.reactivate(ChatId(1), Some(world.subscription.clone()), world.now)
                }
            };
        }
        world.subscription = subscription(Status::Canceled, world.now);
        tenant.subscription = Some(world.subscription.clone());
        world.answers = Vec::new().into_iter();
        let mut record = world.run_until_idle(tenant)?;
        for _ in 0..20 {
            let TenantRecord::Live(tenant) = record else { break };
            world.now = world.now + DAY;
            record = world.run_until_idle(*tenant)?;
        }
        let TenantRecord::Deleted(tombstone) = record else {
            return Err(TestCaseError::fail("a life that nobody pays for did not end"));
        };
        let was_built = tombstone.recheck.shard.is_some();
        let parts = Part::ALL.into_iter().filter(|part| was_built || !part.is_in_shard());
        let mut receipt: Vec<_> = tombstone.receipt.iter().map(|RemovedPart { part, .. }| *part).collect();
        receipt.sort_by_key(|part| Part::ALL.iter().position(|known| known == part));
        prop_assert_eq!(receipt, parts.collect::<Vec<_>>());
    }
}
