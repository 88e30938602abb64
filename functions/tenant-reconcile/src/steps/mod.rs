//! Doing a step. Each may be cut short anywhere and done again.

mod container;
mod infrastructure;
mod keys;
mod leftovers;
mod lifecycle;
mod observe;
mod release;
mod removal;

use nbhd::domain::names::Names;
use nbhd::domain::plan::{Learned, Outcome, Step};
use nbhd::domain::shard::Shard;
use nbhd::domain::step_error::{StepError, WaitReason};
use nbhd::domain::tenant::Tenant;
use nbhd::providers::azure::key_vault::Vault;
use nbhd::providers::azure::resource_manager::Group;
use nbhd::store::{RouteChange, ShardSlot};

use crate::App;
use crate::failure::Failure;

pub(crate) use leftovers::{parts_to_recheck, report_late_effect};
pub(crate) use observe::has_drifted;
pub(crate) use removal::remove_by_name;

/// A step's result, to be saved.
pub(crate) struct StepResult<'a> {
    /// What the row learns.
    pub(crate) outcome: Outcome,
    /// What was found, where the step alone does not say it.
    pub(crate) detail: Option<String>,
    /// What happens to the route, in the same write.
    pub(crate) route: Option<RouteChange>,
    /// What happens to a shard's count, in the same write.
    pub(crate) shard_slot: Option<ShardSlot<'a>>,
    /// Whether it is not worth a record: nothing has changed since the one before.
    pub(crate) skip_record: bool,
}

impl StepResult<'_> {
    pub(crate) const fn new(learned: Learned) -> Self {
        Self::of(Outcome::Done(learned))
    }

    pub(crate) const fn of(outcome: Outcome) -> Self {
        Self { outcome, detail: None, route: None, shard_slot: None, skip_record: false }
    }

    pub(crate) fn with_detail(self, detail: impl Into<String>) -> Self {
        Self { detail: Some(detail.into()), ..self }
    }
}

/// A tenant that a step is done for.
pub(crate) struct StepContext<'a> {
    pub(crate) app: &'a App,
    pub(crate) tenant: &'a Tenant,
    pub(crate) names: Names,
}

/// Where a tenant's resources lie.
pub(crate) struct Site<'a> {
    pub(crate) shard: &'a Shard,
    pub(crate) group: Group,
}

impl<'a> StepContext<'a> {
    pub(crate) fn new(app: &'a App, tenant: &'a Tenant) -> Self {
        Self { app, tenant, names: Names::derive(&app.identity_key, tenant.tenant_id) }
    }

    /// Does one step.
    pub(crate) async fn run(&self, step: Step) -> Result<StepResult<'a>, Failure> {
        match step {
            Step::Sync => lifecycle::sync(self).await,
            Step::ChangeLifecycle(to) => Ok(lifecycle::change_lifecycle(self, to)),
            Step::RemoveLeftovers => leftovers::remove_leftovers(self).await,
            Step::ChooseShard => lifecycle::choose_shard(self).await,
            Step::BeginRotation(key) => Ok(lifecycle::begin_rotation(self, key)),
            Step::ChooseKey(key) => Ok(lifecycle::change_generations(self, Learned::KeyChosen(key))),
            Step::EndRotation => Ok(lifecycle::change_generations(self, Learned::RotationEnded)),
            Step::Activate => lifecycle::activate(self),
            Step::Notify(notice) => lifecycle::notify(self, notice).await,
            Step::Observe => observe::observe(self).await,
            Step::MakeIdentity => infrastructure::make_identity(self).await,
            Step::GrantRole => infrastructure::grant_role(self).await,
            Step::MakeShare => infrastructure::make_share(self).await,
            Step::MakeStorage => infrastructure::make_storage(self).await,
            Step::WriteKeys { generation, limit_cents } => keys::write_keys(self, generation, limit_cents).await,
            Step::SetModelKey { disabled, limit_cents } => keys::set_model_keys(self, disabled, limit_cents).await,
            Step::DropFormerKeys => keys::drop_former_keys(self).await,
            Step::ChooseRelease => release::choose_release(self).await,
            Step::FreeRolloutSlot { healthy } => release::free_rollout_slot(self, healthy).await,
            Step::PutApp => container::put_app(self).await,
            Step::StartApp => container::start_app(self).await,
            Step::StopApp => container::stop_app(self).await,
            Step::AwaitOperation => container::await_operation(self).await,
            Step::AwaitNoReplica => container::await_no_replica(self).await,
            Step::CheckHealth => container::check_health(self).await,
            Step::Remove(part) => removal::remove_part(self, part).await,
            Step::Finalize => removal::finalize(self).await,
        }
    }

    /// Whether what is known of the tenant still holds: the lease under which it was read has not ended. A removed
    /// tenant has none.
    pub(crate) fn holds_lease(&self) -> bool {
        self.tenant.reconcile.lease.as_ref().is_none_or(|lease| lease.until > self.app.clock.now())
    }

    /// Fails the step with [`WaitReason::LeaseEnded`] once another worker may be at work.
    pub(crate) fn require_lease(&self) -> Result<(), Failure> {
        if self.holds_lease() { Ok(()) } else { Err(Failure::waiting(WaitReason::LeaseEnded, 1)) }
    }

    /// The vault with the runtime's secret.
    pub(crate) fn vault(&self) -> Result<&'a Vault, Failure> {
        let address = &self.site()?.shard.vault_url;
        let missing = || StepError::precondition("vault_not_in_settings");
        Ok(self.app.vaults.find(Some(address)).ok_or_else(missing)?)
    }

    pub(crate) fn site(&self) -> Result<Site<'a>, Failure> {
        // Before a shard is chosen, what there may be is what an earlier life has left.
        let status = &self.tenant.reconcile;
        let shard = status.shard.as_ref().or_else(|| status.leftovers.as_ref().map(|left| &left.shard));
        let shard = shard.ok_or_else(|| StepError::precondition("no_shard"))?;
        Ok(Site { shard, group: self.app.settings.group(shard) })
    }
}
