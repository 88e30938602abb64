//! What the removal of an earlier life may have left: removed by name before a new life builds anything.

use nbhd::domain::plan::{Learned, Part};
use nbhd::domain::step_error::StepError;
use nbhd::domain::tenant::Tenant;
use nbhd::telemetry::metric;

use super::{StepContext, StepResult, remove_by_name};
use crate::failure::Failure;

/// Does what a recheck of the removed tenant would have done, for a person who came back before it.
pub(crate) async fn remove_leftovers<'a>(context: &StepContext<'a>) -> Result<StepResult<'a>, Failure> {
    let since = context.tenant.reconcile.leftovers.as_ref().map(|leftovers| leftovers.since);
    let since = since.ok_or_else(|| StepError::precondition("no_leftovers"))?;
    let mut what = Vec::new();
    for part in parts_to_recheck(context.tenant).filter(|part| part.is_in_shard()) {
        if remove_by_name(context, part, since).await? {
            report_late_effect(part);
            what.push(part.description());
        }
    }
    let result = StepResult::new(Learned::LeftoversRemoved);
    Ok(if what.is_empty() { result } else { result.with_detail(what.join(", ")) })
}

pub(crate) fn parts_to_recheck(tenant: &Tenant) -> impl Iterator<Item = Part> + use<> {
    let was_built = tenant.reconcile.shard.is_some() || tenant.reconcile.leftovers.is_some();
    Part::ALL.into_iter().filter(move |part| was_built || !part.is_in_shard())
}

pub(crate) fn report_late_effect(part: Part) {
    metric("LateEffectsRemoved", 1);
    tracing::warn!(
        code = "late_effect",
        what = part.description(),
        "a part of a removed tenant was found and removed; its receipt says so"
    );
}
