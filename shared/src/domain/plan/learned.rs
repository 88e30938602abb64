//! What a step of the reconciler learned, and how it ended.

use std::time::Duration;

use super::{Finding, Part, Step};
use crate::clock::Timestamp;
use crate::domain::generation::{Generation, KeyId};
use crate::domain::reconcile_status::{BackoffReason, Notice};
use crate::domain::resources::{AppChange, Identity, Keys, Operation};
use crate::domain::shard::Shard;
use crate::domain::step_error::{StepError, WaitReason};
use crate::domain::subscription::Subscription;
use crate::domain::tenant::{Lifecycle, Tenant};

/// What a step learned, or decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Learned {
    /// What Stripe says now.
    SubscriptionFetched {
        /// `None` where it names no subscription that we understand, so that the known one stays.
        subscription: Option<Subscription>,
        /// Whether the customer has or had a trial.
        has_trialed: bool,
    },
    /// The tenant is in this lifecycle.
    LifecycleChanged {
        /// The lifecycle.
        lifecycle: Lifecycle,
        /// The newest runtime key, of which the first keys are to be made.
        newest_key: KeyId,
    },
    /// Its resources are to lie there.
    ShardChosen(Shard),
    /// The container is up and the route open.
    Activated,
    /// A second generation of keys is valid, of this runtime key.
    RotationStarted(KeyId),
    /// The newest generation is to be made with this runtime key.
    KeyChosen(KeyId),
    /// The newest generation alone is valid.
    RotationEnded,
    /// The person got a message, or cannot get one.
    PersonNotified(Notice),
    /// The identity exists.
    IdentityMade(Identity),
    /// The principal may read the secret.
    RoleGranted {
        /// The identity's principal.
        principal_id: String,
    },
    /// The file share exists.
    ShareMade,
    /// The environment knows the share.
    StorageMade,
    /// The keys of a generation are in the vault.
    KeysWritten(Keys),
    /// The model keys are set so.
    ModelKeysSet {
        /// Whether they are switched off.
        disabled: bool,
        /// What each may cost a month, in USD cents.
        limit_cents: u32,
    },
    /// Somebody deleted the model key of this generation: its keys are of no use any more.
    ModelKeyMissing {
        /// The generation.
        generation: Generation,
    },
    /// The keys of the generation before are gone.
    FormerKeysDropped {
        /// Whether the gateway knew their model key; otherwise its view may be behind, and the key exist.
        found: bool,
    },
    /// The container shall run this release.
    ReleaseChosen {
        /// Its id.
        release: String,
        /// The id of the newest release.
        newest: String,
        /// Whether the tenant holds the rollout's slot for it.
        holds_slot: bool,
    },
    /// The container keeps the release that it runs.
    ReleaseKept {
        /// The id of the newest release.
        newest: String,
    },
    /// The chosen release is known to nobody any more, and this one takes its place.
    ReleaseReplaced {
        /// Its id.
        release: String,
    },
    /// The rollout goes on to the next tenant.
    RolloutSlotFreed,
    /// The newest release failed here.
    RolledBack {
        /// Its id.
        failed: String,
        /// The id of the release to run instead; `None` leaves what was chosen.
        release: Option<String>,
    },
    /// Azure works on a change of the app.
    OperationStarted(Operation),
    /// An operation ended, and nobody knows how.
    OperationForgotten,
    /// Azure's permanent error: the operation under way failed.
    OperationFailed {
        /// Azure's own code.
        code: String,
    },
    /// A change of the app has ended.
    AppChanged {
        /// The change.
        change: AppChange,
        /// Whether a request wakes the app now.
        running: bool,
        /// The host name under which it is reached.
        fqdn: Option<String>,
        /// Azure's own code, when the app could not be provisioned.
        failure: Option<String>,
    },
    /// There is no app.
    AppMissing,
    /// No replica of the stopped app is left.
    AppDrained,
    /// The container answers.
    AppHealthy,
    /// How the resources are.
    Observed(Finding),
    /// Nothing of an earlier life is left.
    LeftoversRemoved,
    /// A part of the tenant is gone.
    PartRemoved {
        /// The part.
        part: Part,
        /// When the vendor destroys its last copy, where that is later and not ours to hasten.
        purged_by: Option<Timestamp>,
    },
    /// Every part is gone, and the person has paid again: a new life begins.
    LifeRestarted,
    /// Every part is gone, and a receipt takes the row's place.
    LifeEnded,
}

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With a result.
    Done(Learned),
    /// Something else has to happen first.
    Waiting {
        /// What it waits for.
        reason: WaitReason,
        /// When to retry it.
        until: Timestamp,
    },
    /// It failed.
    Failed {
        /// What happened.
        error: StepError,
        /// The shortest wait that the vendor asks for.
        retry_after: Option<Duration>,
        /// When the step began: the first of its requests that may still take effect is no older.
        began: Timestamp,
    },
}

impl Outcome {
    /// The stable code in rows and log lines.
    pub fn code(&self) -> String {
        match self {
            Self::Done(_) => "done".to_owned(),
            Self::Waiting { reason, .. } => reason.to_string(),
            Self::Failed { error, .. } => error.to_string(),
        }
    }

    /// Whether `step` has not ended for the same reason as before: that is not worth another record.
    pub fn is_repeated(&self, tenant: &Tenant, step: Step) -> bool {
        let reason = match self {
            Self::Done(_) => return false,
            Self::Waiting { reason, .. } => BackoffReason::Waiting(*reason),
            Self::Failed { error, .. } => BackoffReason::Failed(error.clone()),
        };
        tenant.reconcile.step_backoff.as_ref().is_some_and(|known| known.step == step.name() && known.reason == reason)
    }
}
