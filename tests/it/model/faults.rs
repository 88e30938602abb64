//! What fails while an invocation is at work, and how.

use std::time::Duration;

use axum::http::StatusCode;
use nbhd_sim::arm::Failure as Arm;
use nbhd_sim::interruption::StopPoint;
use nbhd_sim::key_vault::{self, Failure as Vault};
use nbhd_sim::model_gateway::{self, Failure as Gateway};
use nbhd_sim::sqs::Unavailable;
use nbhd_sim::stripe::Failure as Stripe;
use nbhd_sim::table;
use nbhd_sim::telegram::Failure as Telegram;
use serde::{Deserialize, Serialize};

use super::world::{Chance, World};

/// What fails.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Fault {
    /// The resource manager, `times` times, beginning with this of its requests.
    Arm { at: StopPoint, times: usize, how: FailureMode },
    /// The model gateway: each operation once, after `passing` others of its kind.
    Gateway { passing: usize, how: FailureMode },
    /// The vault: each operation once.
    Vault { how: FailureMode },
    /// Stripe: every call.
    Stripe { how: FailureMode },
    /// The table: every request from its request number `at` (from 1).
    Table { at: usize },
    /// A transaction holds the item of a write, once for each kind of write, after `passing` others of its kind.
    Held { passing: usize },
    /// The queues: nothing is taken.
    Queue,
    /// Telegram: one message.
    Telegram { how: FailureMode },
    /// The resource manager answers every DELETE as if there were nothing, and what it left is there afterwards.
    StaleArm,
    /// What the gateway made lately is in no list yet, and cannot be deleted.
    StaleGateway,
}

/// How it fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum FailureMode {
    /// 429, for three seconds, without an effect.
    Throttled,
    /// 5xx, without an effect.
    Down,
    /// With its effect, and without an answer.
    AnswerLost,
    /// Without either.
    Unheard,
    /// A success whose body is no JSON, without an effect.
    Nonsense,
}

const SECONDS: u32 = 3;
/// How far behind the gateway may be: less than we wait before we look once more.
const LAG: Duration = Duration::from_secs(5 * 60);

impl Fault {
    pub(super) fn draw(chance: &Chance) -> Self {
        use FailureMode::{AnswerLost, Down, Nonsense, Throttled, Unheard};
        let passing = chance.below(3);
        match chance.below(100) {
            0..40 => {
                let how = chance.choice(&[Throttled, Down, AnswerLost, AnswerLost, Unheard, Nonsense]);
                let times = 1 + chance.below(2);
                Self::Arm { at: StopPoint::Number(1 + chance.below(10)), times, how }
            }
            40..60 => Self::Gateway { passing, how: chance.choice(&[Throttled, Down, AnswerLost, Unheard]) },
            60..78 => Self::Vault { how: chance.choice(&[Throttled, Down, AnswerLost, Nonsense]) },
            78..86 => Self::Stripe { how: chance.choice(&[Down, Throttled, AnswerLost, Nonsense]) },
            86..90 => Self::Table { at: 1 + chance.below(12) },
            90..92 => Self::Held { passing },
            92..93 => Self::Queue,
            93..97 => chance.choice(&[Self::StaleArm, Self::StaleArm, Self::StaleGateway]),
            _ => Self::Telegram { how: chance.choice(&[Throttled, Down, AnswerLost]) },
        }
    }

    /// Its name in counts: what fails, and how.
    pub(super) fn name(&self) -> String {
        match *self {
            Self::Arm { how, .. } => format!("arm: {how:?}"),
            Self::Gateway { how, .. } => format!("gateway: {how:?}"),
            Self::Vault { how } => format!("vault: {how:?}"),
            Self::Stripe { how } => format!("stripe: {how:?}"),
            Self::Table { .. } => "table: Down".to_owned(),
            Self::Held { .. } => "table: an item is held".to_owned(),
            Self::Queue => "queue: Down".to_owned(),
            Self::Telegram { how } => format!("telegram: {how:?}"),
            Self::StaleArm => "arm: a delete finds nothing".to_owned(),
            Self::StaleGateway => "gateway: what is new is in no list".to_owned(),
        }
    }
}

impl World {
    /// Lets something fail for the next invocation.
    pub(super) fn inject_fault(&self, fault: &Fault) {
        match *fault {
            Fault::Arm { ref at, times, how } => self.observer.fail_arm(at.clone(), times, arm(how)),
            Fault::Gateway { passing, how } => {
                use model_gateway::Operation::{Create, Delete, Get, List, Update};
                for operation in [List, Create, Get, Update, Delete] {
                    self.gateway.faults.fail_after(operation, passing, gateway(how));
                }
            }
            Fault::Vault { how } => {
                use key_vault::Operation::{Delete, Get, Purge, Set};
                for operation in [Get, Set, Delete, Purge] {
                    self.azure.vault.faults.fail_next(operation, vault(how));
                }
            }
            Fault::Stripe { how } => self.stripe.faults.fail_all(stripe(how)),
            Fault::Table { at } => self.observer.fail_table_after(at),
            Fault::Held { passing } => {
                for operation in ["PutItem", "UpdateItem"] {
                    self.table.faults.fail_after(operation, passing, table::Failure::ItemHeld);
                }
            }
            Fault::Queue => self.sqs.faults.fail_always("SendMessage", Unavailable),
            Fault::Telegram { how } => self.telegram.faults.fail_next("sendMessage", telegram(how)),
            Fault::StaleArm => self.azure.arm.ignores_deletes(true),
            Fault::StaleGateway => self.gateway.lags(Some(LAG)),
        }
        self.count(|counts| counts.fault(&fault.name()));
    }

    /// Ends every failure that was to come; what did fail.
    pub(super) fn clear_fault(&self, fault: Fault) -> Option<Fault> {
        let failed = self.observer.stop_failing();
        self.table.faults.recover();
        self.gateway.faults.recover();
        self.gateway.lags(None);
        self.azure.vault.faults.recover();
        self.stripe.faults.recover();
        self.sqs.faults.recover();
        self.telegram.faults.recover();
        self.azure.arm.ignores_deletes(false);
        match fault {
            Fault::Arm { times, how, .. } => failed.map(|at| Fault::Arm { at: StopPoint::Named(at), times, how }),
            Fault::Gateway { .. }
            | Fault::Vault { .. }
            | Fault::Stripe { .. }
            | Fault::Table { .. }
            | Fault::Held { .. }
            | Fault::Queue
            | Fault::Telegram { .. }
            | Fault::StaleArm
            | Fault::StaleGateway => Some(fault),
        }
    }
}

const fn arm(how: FailureMode) -> Arm {
    match how {
        FailureMode::Throttled => Arm::Throttled(SECONDS),
        FailureMode::Down => Arm::Status(StatusCode::SERVICE_UNAVAILABLE),
        FailureMode::AnswerLost => Arm::AnswerLost,
        FailureMode::Unheard => Arm::ConnectionLost,
        FailureMode::Nonsense => Arm::NotJson,
    }
}

const fn gateway(how: FailureMode) -> Gateway {
    match how {
        FailureMode::Throttled => Gateway::Throttled(Some(SECONDS)),
        FailureMode::Down => Gateway::Status(502),
        FailureMode::AnswerLost => Gateway::AnswerLost,
        FailureMode::Unheard => Gateway::ConnectionLost,
        FailureMode::Nonsense => Gateway::NotJson,
    }
}

/// A vault that is not heard answers as one that is down.
const fn vault(how: FailureMode) -> Vault {
    match how {
        FailureMode::Throttled => Vault::Throttled(SECONDS),
        FailureMode::Down | FailureMode::Unheard => Vault::Status(StatusCode::SERVICE_UNAVAILABLE),
        FailureMode::AnswerLost => Vault::AnswerLost,
        FailureMode::Nonsense => Vault::NotJson,
    }
}

const fn stripe(how: FailureMode) -> Stripe {
    match how {
        FailureMode::Throttled => Stripe::Throttled,
        FailureMode::Down | FailureMode::Unheard => Stripe::Status(500),
        FailureMode::AnswerLost => Stripe::AnswerLost,
        FailureMode::Nonsense => Stripe::NotJson,
    }
}

const fn telegram(how: FailureMode) -> Telegram {
    match how {
        FailureMode::Throttled => Telegram::Throttled(SECONDS),
        FailureMode::Down | FailureMode::Unheard => Telegram::Status(StatusCode::BAD_GATEWAY),
        FailureMode::AnswerLost => Telegram::AnswerLost,
        FailureMode::Nonsense => Telegram::NotJson,
    }
}
