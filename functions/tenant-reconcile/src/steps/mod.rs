//! Doing a step. Each may be cut short anywhere and done again.

mod azure;
mod container;
mod keys;
mod life;
mod observe;
mod release;
mod removal;

pub(crate) use removal::remove_by_name;

pub(crate) use life::only_writes;
use nbhd::domain::names::Names;
use nbhd::domain::plan::Step;
use nbhd::domain::shard::Shard;
use nbhd::domain::tenant::Tenant;
use nbhd::providers::azure::key_vault::Vault;
use nbhd::providers::azure::resource_manager::Group;
use nbhd::store::{Place, RouteChange};

use crate::App;
use crate::failure::Failure;

/// What was learned, as a change of the row; on a row that others changed meanwhile it is made again.
type Change = Box<dyn Fn(&mut Tenant) + Send + Sync>;

/// A step's result, to be saved.
pub(crate) struct Effect<'a> {
    /// What the row learns.
    pub(crate) change: Change,
    /// What was found, where the step alone does not say it.
    pub(crate) detail: Option<String>,
    /// What happens to the route, in the same write.
    pub(crate) route: Option<RouteChange>,
    /// What happens to a shard's count, in the same write.
    pub(crate) place: Option<Place<'a>>,
    /// Whether it is not worth a record: nothing has changed since the one before.
    pub(crate) is_quiet: bool,
    /// Whether nothing was done but what the write itself does: then it is no use on a row that changed meanwhile.
    pub(crate) is_write: bool,
}

impl Effect<'_> {
    /// Something was done elsewhere.
    pub(crate) fn done(change: impl Fn(&mut Tenant) + Send + Sync + 'static) -> Self {
        Self { change: Box::new(change), detail: None, route: None, place: None, is_quiet: false, is_write: false }
    }

    /// The row alone changes, and what is written with it.
    pub(crate) fn write(change: impl Fn(&mut Tenant) + Send + Sync + 'static) -> Self {
        Self { is_write: true, ..Self::done(change) }
    }

    pub(crate) fn found(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }
}

/// A tenant being worked on.
pub(crate) struct Job<'a> {
    pub(crate) app: &'a App,
    pub(crate) tenant: &'a Tenant,
    pub(crate) names: Names,
}

/// Where a tenant's resources lie.
pub(crate) struct Site<'a> {
    pub(crate) shard: &'a Shard,
    pub(crate) group: Group,
}

impl<'a> Job<'a> {
    pub(crate) fn new(app: &'a App, tenant: &'a Tenant) -> Self {
        Self { app, tenant, names: Names::of(&app.key, tenant.tenant_id) }
    }

    /// Does one step.
    pub(crate) async fn run(&self, step: Step) -> Result<Effect<'a>, Failure> {
        match step {
            Step::Sync => life::sync(self).await,
            Step::Move(to) => Ok(life::move_to(self, to)),
            Step::RemoveLeftovers => crate::recheck::remove_leftovers(self).await,
            Step::ChooseShard => life::choose_shard(self).await,
            Step::BeginRotation => Ok(life::begin_rotation(self)),
            Step::EndRotation => Ok(life::end_rotation(self)),
            Step::Activate => life::activate(self),
            Step::Tell(notice) => life::tell(self, notice).await,
            Step::Observe => observe::run(self).await,
            Step::MakeIdentity => azure::make_identity(self).await,
            Step::GrantRole => azure::grant_role(self).await,
            Step::MakeShare => azure::make_share(self).await,
            Step::MakeStorage => azure::make_storage(self).await,
            Step::WriteKeys { generation, limit_cents } => keys::write(self, generation, limit_cents).await,
            Step::SetModelKey { disabled, limit_cents } => keys::set_model_key(self, disabled, limit_cents).await,
            Step::DropFormerKeys => keys::drop_former(self).await,
            Step::ChooseRelease => release::choose(self).await,
            Step::EndTurn { healthy } => release::end_turn(self, healthy).await,
            Step::PutApp => container::put(self).await,
            Step::StartApp => container::start(self).await,
            Step::StopApp => container::stop(self).await,
            Step::AwaitOperation => container::await_operation(self).await,
            Step::AwaitNoReplica => container::await_no_replica(self).await,
            Step::CheckHealth => container::check_health(self).await,
            Step::Remove(part) => removal::remove(self, part).await,
            // Ends the row: the worker's own.
            Step::Bury => Err(Failure::failed("not_a_step")),
        }
    }

    /// Whether what is known of the tenant still holds: the lease under which it was read has not ended. A removed
    /// tenant has none.
    pub(crate) fn is_in_time(&self) -> bool {
        self.tenant.work.lease.as_ref().is_none_or(|lease| lease.until > self.app.clock.now())
    }

    /// The vault with the runtime's secret.
    pub(crate) fn vault(&self) -> Result<&'a Vault, Failure> {
        let address = &self.site()?.shard.vault_url;
        self.app.vaults.recorded(Some(address)).ok_or_else(|| Failure::failed("vault_not_in_settings"))
    }

    pub(crate) fn site(&self) -> Result<Site<'a>, Failure> {
        // Before a shard is chosen, what there may be is what an earlier life has left.
        let work = &self.tenant.work;
        let shard = work.shard.as_ref().or_else(|| work.leftovers.as_ref().map(|left| &left.shard));
        let shard = shard.ok_or_else(|| Failure::failed("no_shard"))?;
        Ok(Site { shard, group: self.app.settings.group(shard) })
    }
}
