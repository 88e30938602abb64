//! `nbhd grant`: gives a person an assistant without a payment, and ends that.

use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use nbhd::clock::Timestamp;
use nbhd::domain::due::{Due, Kind};
use nbhd::domain::gift::Gift;
use nbhd::domain::ids::{ChatId, TenantId};
use nbhd::domain::subscription::Tier;
use nbhd::domain::tenant::{Lifecycle, Tenant, TenantRecord};
use nbhd::store;

use crate::tenant::{ATTEMPTS, send_reconcile_job};
use crate::{Operator, Output};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// The longest grant, as a guard against a year that was mistyped: two years, one of them a leap year.
const LONGEST: Duration = DAY.saturating_mul(731);
/// The word with which `--until` ends a grant.
const NOW: &str = "now";

#[derive(Clone, Debug, Args)]
pub(crate) struct GrantArgs {
    /// A tenant's id; or the id of a private chat, whose tenant is made if there is none
    #[arg(allow_negative_numbers = true)]
    whom: Whom,
    /// The last day, to its end in UTC, such as 2027-01-31; or a time in RFC 3339; or `now`, which ends the grant
    #[arg(long, value_name = "DATE", required_unless_present = "revoke")]
    until: Option<String>,
    /// The tier that is given: basic or plus
    #[arg(long, value_parser = parse_tier)]
    tier: Option<Tier>,
    /// End the grant that runs now; what was built is kept for a week
    #[arg(long, conflicts_with_all = ["until", "tier"])]
    revoke: bool,
}

/// Who is given something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whom {
    Tenant(TenantId),
    Chat(ChatId),
}

impl FromStr for Whom {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match (text.parse(), text.parse()) {
            (Ok(tenant), _) => Ok(Self::Tenant(tenant)),
            // Telegram's groups and channels have negative ids.
            (_, Ok(chat)) if chat > 0 => Ok(Self::Chat(ChatId(chat))),
            (_, Ok(_)) => Err("that is no private chat, and only those have assistants"),
            (Err(_), Err(_)) => Err("neither a tenant's id nor a chat's"),
        }
    }
}

fn parse_tier(text: &str) -> Result<Tier, String> {
    text.parse().map_err(|_| format!("there is {}", Tier::ALL.map(Tier::as_str).join(" and ")))
}

pub(crate) async fn run(operator: &Operator, args: &GrantArgs) -> anyhow::Result<Output> {
    let now = operator.clock.now();
    let until = args.until.as_deref().filter(|until| *until != NOW);
    match (until, args.tier) {
        (Some(until), Some(tier)) => give(operator, args.whom, Gift { until: parse_end(until, now)?, tier }).await,
        (Some(_), None) => bail!("name the tier that is given: --tier basic or --tier plus"),
        (None, _) => revoke(operator, args.whom).await,
    }
}

/// Describes a gift for an operator.
pub(crate) fn describe(gift: Gift, now: Timestamp) -> String {
    let Gift { until, tier } = gift;
    if gift.is_running(now) { format!("{tier} until {until}") } else { format!("{tier}, ended at {until}") }
}

/// The end that `--until` names: the end of a day in UTC, or a time in RFC 3339.
fn parse_end(text: &str, now: Timestamp) -> anyhow::Result<Timestamp> {
    let day = Timestamp::parse_rfc3339(&format!("{text}T00:00:00Z")).map(|midnight| midnight + DAY);
    let end = day.or_else(|| Timestamp::parse_rfc3339(text));
    let end = end.with_context(|| format!("`{text}` is neither a day such as 2027-01-31 nor a time in RFC 3339"))?;
    ensure!(end > now, "{end} is over; `--until now` ends a grant");
    ensure!(end <= now + LONGEST, "{end} is more than two years ahead");
    Ok(end)
}

async fn give(operator: &Operator, whom: Whom, gift: Gift) -> anyhow::Result<Output> {
    let id = find_id(operator, whom).await?;
    for _ in 0..ATTEMPTS {
        let now = operator.clock.now();
        let record = operator.store.tenant_record(id).await?;
        let read_version = record.as_ref().map(TenantRecord::version);
        let tenant = match (record, whom) {
            (Some(TenantRecord::Live(tenant)), Whom::Chat(chat)) if tenant.chat_id != chat => {
                bail!("`{id}` has another chat; give its id")
            }
            (Some(TenantRecord::Live(tenant)), _) => *tenant,
            (Some(TenantRecord::Deleted(tombstone)), Whom::Chat(chat)) => tombstone.reactivate(chat, None, now),
            (Some(TenantRecord::Deleted(_)), Whom::Tenant(_)) => {
                bail!("`{id}` was removed, and nothing tells whose it was; give the id of the chat")
            }
            (None, Whom::Chat(chat)) => Tenant::new(id, chat),
            (None, Whom::Tenant(_)) => bail!("there is no tenant `{id}`; to make one, give the id of the chat"),
        };
        let note = match tenant.lifecycle {
            _ if tenant.held => "; it is held, so it has to wait for `nbhd resume`",
            Lifecycle::Deprovisioning => "; the removal that goes on ends first, and then it is made anew",
            Lifecycle::Pending | Lifecycle::Provisioning | Lifecycle::Active | Lifecycle::Suspended => "",
        };
        if save(operator, Tenant { gift: Some(gift), ..tenant }, read_version).await? {
            let Gift { until, tier } = gift;
            return Ok(Output::from_text(format!("`{id}` is given {tier} until {until}, whatever Stripe says{note}")));
        }
    }
    bail!("the row of `{id}` changed {ATTEMPTS} times while it was written; try again")
}

async fn revoke(operator: &Operator, whom: Whom) -> anyhow::Result<Output> {
    let id = find_id(operator, whom).await?;
    for _ in 0..ATTEMPTS {
        let now = operator.clock.now();
        let tenant = operator.store.tenant(id).await?;
        let running = tenant.and_then(|tenant| Some((tenant.running_gift(now)?, tenant)));
        let Some((gift, tenant)) = running else { bail!("`{id}` has no grant that runs") };
        let read_version = Some(tenant.version);
        let ended = Tenant { gift: Some(Gift { until: now, ..gift }), ..tenant };
        if save(operator, ended, read_version).await? {
            return Ok(Output::from_text(format!("the grant of `{id}` has ended; its subscription alone counts")));
        }
    }
    bail!("the row of `{id}` changed {ATTEMPTS} times while it was written; try again")
}

/// The tenant of a chat: the one that it has, or the one that it would get at a checkout.
async fn find_id(operator: &Operator, whom: Whom) -> anyhow::Result<TenantId> {
    match whom {
        Whom::Tenant(id) => Ok(id),
        Whom::Chat(chat) => match operator.store.load_route(chat).await? {
            Some(route) => Ok(route.tenant_id),
            None => Ok(operator.env.identity_key("TENANT_ID_KEY")?.tenant_id(chat)),
        },
    }
}

/// Writes the row and queues the tenant for the reconciler; `false` when the row changed meanwhile.
async fn save(operator: &Operator, tenant: Tenant, read_version: Option<u64>) -> anyhow::Result<bool> {
    let id = tenant.tenant_id;
    // If the job is lost, the sweep finds the row by this time.
    let due = Some(Due::new(Kind::Reconcile, id, operator.clock.now()));
    match operator.store.save_tenant(&Tenant { due, ..tenant }, read_version).await {
        Ok(_) => send_reconcile_job(operator, id).await.map(|()| true),
        Err(store::Error::Conflict) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Timestamp {
        Timestamp::parse_rfc3339(text).expect("a time")
    }

    #[test]
    fn a_day_counts_to_its_end_and_a_time_as_it_is() {
        let now = time("2026-12-01T10:00:00Z");
        let end = |text| parse_end(text, now).map_err(|error| error.to_string());
        assert_eq!(end("2027-01-31"), Ok(time("2027-02-01T00:00:00Z")));
        assert_eq!(end("2028-02-29"), Ok(time("2028-03-01T00:00:00Z")));
        assert_eq!(end("2026-12-01"), Ok(time("2026-12-02T00:00:00Z")), "today is not over");
        assert_eq!(end("2027-01-31T12:00:00+02:00"), Ok(time("2027-01-31T10:00:00Z")));
    }

    #[test]
    fn what_is_over_too_far_or_no_date_is_refused() {
        let now = time("2026-12-01T10:00:00Z");
        for text in ["2026-11-30", "2026-12-01T10:00:00Z", "1970-01-01", "2029-12-01", "2127-01-31", "9999-12-31"] {
            assert!(parse_end(text, now).is_err(), "{text}");
        }
        for text in ["", "2027-02-30", "2027-13-01", "2027-1-1", "31.1.2027", "tomorrow", "NOW", "2027-01-31T10:00:00"]
        {
            assert!(parse_end(text, now).is_err(), "{text}");
        }
    }

    #[test]
    fn whom_is_a_tenant_or_a_private_chat() {
        let id = TenantId::random();
        assert_eq!(id.to_string().parse(), Ok(Whom::Tenant(id)));
        assert_eq!("1001".parse(), Ok(Whom::Chat(ChatId(1001))));
        for text in ["0", "-1001", "-1001234567890", "ann", "", "1e3", "99999999999999999999"] {
            assert!(text.parse::<Whom>().is_err(), "{text}");
        }
    }
}
