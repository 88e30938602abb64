//! The steps there are.

use crate::domain::generation::{Generation, KeyId};
use crate::domain::reconcile_status::Notice;
use crate::domain::step_name::{Part, StepName};
use crate::domain::tenant::Lifecycle;

/// One thing to do, safe to repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Ask Stripe about the customer.
    Sync,
    /// Change the lifecycle, and the route with it.
    ChangeLifecycle(Lifecycle),
    /// Compare the resources with the row.
    Observe,
    /// Remove what the removal of an earlier life may have left.
    RemoveLeftovers,
    /// Reserve a slot in an Azure subscription.
    ChooseShard,
    /// Create the container's identity.
    MakeIdentity,
    /// Let a second generation of keys be valid, with secrets of this runtime key.
    BeginRotation(KeyId),
    /// Have the newest generation, whose keys are not made, made with this runtime key: its own is not listed.
    ChooseKey(KeyId),
    /// Create a generation's keys and write them into the vault.
    WriteKeys {
        /// The generation.
        generation: Generation,
        /// What its model key may cost a month, in USD cents.
        limit_cents: u32,
    },
    /// Change what the model key may do.
    SetModelKey {
        /// Whether it is switched off.
        disabled: bool,
        /// What it may cost a month, in USD cents.
        limit_cents: u32,
    },
    /// Let the identity read the secret.
    GrantRole,
    /// Create the file share.
    MakeShare,
    /// Make the share known to the container environment.
    MakeStorage,
    /// Decide which release the container shall run.
    ChooseRelease,
    /// Ask Azure how a change to the app has ended.
    AwaitOperation,
    /// Stop the app.
    StopApp,
    /// Wait until no replica is left.
    AwaitNoReplica,
    /// Create the app, or update it.
    PutApp,
    /// Start the app.
    StartApp,
    /// Ask the container whether it is up.
    CheckHealth,
    /// Open the route and let the tenant be active.
    Activate,
    /// Let the newest generation alone be valid.
    EndRotation,
    /// Remove the keys of the generation before.
    DropFormerKeys,
    /// Let the rollout go on to the next tenant.
    FreeRolloutSlot {
        /// Whether the container is up with the release; otherwise it is rolled back.
        healthy: bool,
    },
    /// Write to the person.
    Notify(Notice),
    /// Remove one part.
    Remove(Part),
    /// Put a receipt in place of the row, or begin a new life for a person who paid again.
    Finalize,
}

/// What a step touches, and so what has to be known of it when it is repeated or cut short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepScope {
    /// It changes nothing but our table: no other worker has to be kept out, and on a row that changed meanwhile it is
    /// planned anew.
    OurTable,
    /// It works under the lease, and changes no resource.
    UnderLease,
    /// It changes something at a vendor: without an answer, that may yet happen.
    Resources,
}

impl Step {
    /// What it touches.
    pub const fn scope(self) -> StepScope {
        match self {
            Self::Sync
            | Self::ChangeLifecycle(_)
            | Self::ChooseShard
            | Self::BeginRotation(_)
            | Self::ChooseKey(_)
            | Self::EndRotation
            | Self::Activate => StepScope::OurTable,
            Self::Observe
            | Self::ChooseRelease
            | Self::AwaitOperation
            | Self::AwaitNoReplica
            | Self::CheckHealth
            | Self::FreeRolloutSlot { .. }
            | Self::Notify(_)
            | Self::Finalize => StepScope::UnderLease,
            Self::MakeIdentity
            | Self::WriteKeys { .. }
            | Self::SetModelKey { .. }
            | Self::GrantRole
            | Self::MakeShare
            | Self::MakeStorage
            | Self::StopApp
            | Self::PutApp
            | Self::StartApp
            | Self::DropFormerKeys
            | Self::RemoveLeftovers
            | Self::Remove(_) => StepScope::Resources,
        }
    }

    /// The name in rows and log lines.
    pub const fn name(self) -> StepName {
        match self {
            Self::Sync => StepName::Sync,
            Self::ChangeLifecycle(Lifecycle::Pending) => StepName::WaitForPayment,
            Self::ChangeLifecycle(Lifecycle::Provisioning) => StepName::Provision,
            Self::ChangeLifecycle(Lifecycle::Active) | Self::Activate => StepName::Activate,
            Self::ChangeLifecycle(Lifecycle::Suspended) => StepName::Suspend,
            Self::ChangeLifecycle(Lifecycle::Deprovisioning) => StepName::Deprovision,
            Self::Observe => StepName::Observe,
            Self::RemoveLeftovers => StepName::RemoveLeftovers,
            Self::ChooseShard => StepName::ChooseShard,
            Self::MakeIdentity => StepName::MakeIdentity,
            Self::BeginRotation(_) => StepName::BeginRotation,
            Self::ChooseKey(_) => StepName::ChooseKey,
            Self::WriteKeys { .. } => StepName::WriteKeys,
            Self::SetModelKey { disabled: true, .. } => StepName::DisableModelKey,
            Self::SetModelKey { disabled: false, .. } => StepName::SetModelKey,
            Self::GrantRole => StepName::GrantRole,
            Self::MakeShare => StepName::MakeShare,
            Self::MakeStorage => StepName::MakeStorage,
            Self::ChooseRelease => StepName::ChooseRelease,
            Self::AwaitOperation => StepName::AwaitOperation,
            Self::StopApp => StepName::StopApp,
            Self::AwaitNoReplica => StepName::AwaitNoReplica,
            Self::PutApp => StepName::PutApp,
            Self::StartApp => StepName::StartApp,
            Self::CheckHealth => StepName::CheckHealth,
            Self::EndRotation => StepName::EndRotation,
            Self::DropFormerKeys => StepName::DropFormerKeys,
            Self::FreeRolloutSlot { healthy: true } => StepName::FreeRolloutSlot,
            Self::FreeRolloutSlot { healthy: false } => StepName::RollBack,
            Self::Notify(Notice::Ready) => StepName::NotifyReady,
            Self::Notify(Notice::Suspended) => StepName::NotifySuspended,
            Self::Notify(Notice::Resumed) => StepName::NotifyResumed,
            Self::Notify(Notice::Removed) => StepName::NotifyRemoved,
            Self::Notify(Notice::Replaced) => StepName::NotifyReplaced,
            Self::Notify(Notice::ReadyAnew) => StepName::NotifyReadyAnew,
            Self::Notify(Notice::SuspendedAnew) => StepName::NotifySuspendedAnew,
            Self::Remove(part) => part.step_name(),
            Self::Finalize => StepName::Finalize,
        }
    }
}
