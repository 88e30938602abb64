//! What keeping tokens fresh costs: a tick beside ever more connections, and a day of a million tenants.

use std::collections::BTreeMap;
use std::time::Duration;

use nbhd::clock::{Clock, Timestamp};
use nbhd::domain::due::Kind;
use nbhd::domain::ids::{ChatId, TenantId};
use nbhd::domain::integration::{Integration, Provider};
use nbhd::domain::refresh;
use nbhd::domain::tenant::{Lifecycle, Tenant};
use nbhd_local::{Options, World};
use nbhd_sim::item;
use serde_json::{Value, json};

use crate::prices as price;
use crate::report::Report;

/// Connections in the table, of which [`DUE`] are due.
const TABLES: [usize; 3] = [10_000, 100_000, 1_000_000];
const DUE: usize = 1_000;
const IMPORT: usize = 20_000;

const TENANTS: u64 = 1_000_000;
const DAY: Duration = Duration::from_secs(24 * 3600);
const HOUR: Duration = Duration::from_secs(3600);
const TICK: Duration = Duration::from_secs(5 * 60);
/// As many connections as one job names (`scheduled-refresh`), and as many jobs as a call to the queue takes.
const JOB: u64 = 25;
const BATCH: u64 = 10;
/// A job of 25 connections, ten at once: three rounds of the table, the vault and Google, taken as 200 ms each.
const JOB_SECONDS: f64 = 0.6;
const TICK_SECONDS: f64 = 1.0;
const MEMORY_GB: f64 = 0.25;
/// New versions of secrets that a vault takes in a second.
/// <https://learn.microsoft.com/azure/key-vault/general/service-limits>
const VAULT_WRITES_A_SECOND: f64 = 30.0;
const DAYS_A_MONTH: f64 = 30.0;
/// Notes of use by runtimes' calls: one in six hours for each connection in use.
const NOTES_A_DAY: u64 = 4;

/// What one refresh takes, as measured.
#[derive(Clone, Copy, Debug)]
struct Cost {
    google: u64,
    vault: u64,
    reads: f64,
    writes: f64,
}

/// A size that is not the usual one, for a quick look.
#[expect(clippy::disallowed_methods, reason = "a knob of this program, not a setting of the system")]
pub(crate) fn read_number(name: &str) -> Option<usize> {
    std::env::var(name).ok()?.parse().ok()
}

/// A tick's reads while the table grows; `NBHD_BENCH_ROWS` bounds its sizes.
pub(crate) async fn measure_ticks(report: &mut Report) -> anyhow::Result<()> {
    report.section(&format!("A tick with {DUE} connections due, by what the table holds"));
    let mut units = Vec::new();
    let largest = read_number("NBHD_BENCH_ROWS").unwrap_or(usize::MAX);
    for connections in TABLES.into_iter().filter(|connections| *connections <= largest) {
        let world = World::start(Options::with_clock(Clock::System)).await?;
        import_connections(&world, connections)?;
        world.table.clear_calls();
        let tick = world.tick_refresh().await;
        anyhow::ensure!((tick.due, tick.failed) == (DUE, 0), "{tick:?}");
        let (calls, spent) = (world.table.calls().len(), world.table.units());
        let figure = format!("{} items, {calls} queries, {spent} units", tick.due);
        report.figure(&format!("{connections} connections"), &figure);
        units.push(spent);
    }
    let (least, most) =
        units.iter().fold((f64::MAX, 0_f64), |(least, most), spent| (least.min(*spent), most.max(*spent)));
    report.at_most("the dearest tick against the cheapest", most / least, 1.05, "×");
    Ok(())
}

fn import_connections(world: &World, connections: usize) -> anyhow::Result<()> {
    let now = world.clock.now();
    let mut items = Vec::with_capacity(IMPORT);
    for place in 0..connections {
        let row = Integration {
            secret_version: "0123456789abcdef0123456789abcdef".to_owned(),
            account: Some(format!("person-{place}@example.com")),
            ..Integration::new(TenantId::random(), Provider::Gmail, now)
        };
        let at = if place < DUE { now - TICK } else { now + HOUR };
        items.push(to_item(&Integration { due: Some(refresh::due_entry(&row, at)), version: 1, ..row })?);
        if items.len() == IMPORT || place + 1 == connections {
            world.table.import(std::mem::take(&mut items))?;
        }
    }
    Ok(())
}

/// The table's item of a row.
pub(crate) fn to_item(row: &Integration) -> anyhow::Result<Value> {
    item::from_row(row, &format!("TENANT#{}", row.tenant_id), &format!("INTEGRATION#{}", row.provider))
}

/// A day of a million tenants with both services connected, one in twenty in use, on a virtual clock.
pub(crate) async fn measure_day(report: &mut Report) -> anyhow::Result<()> {
    let (used, idle) = (measure_one_refresh(true).await?, measure_one_refresh(false).await?);
    report.section(&format!("A day of {TENANTS} tenants, both services connected, 5 % in use"));
    let start = Timestamp::from_seconds(1_800_000_000);
    // Connections due by tick and shard.
    let mut due: BTreeMap<(u64, String), u64> = BTreeMap::new();
    // Of these, by tick, those that write a new version.
    let mut versions: BTreeMap<u64, u64> = BTreeMap::new();
    let (mut refreshes, mut kept_alive, mut in_use) = (0_u64, 0_u64, 0_u64);
    for tenant in 0..TENANTS {
        let tenant_id = TenantId::from(uuid::Uuid::new_v4());
        let is_used = tenant % 20 == 0;
        for provider in Provider::ALL {
            in_use += u64::from(is_used);
            let mut row = Integration::new(tenant_id, provider, start);
            row.used_at = is_used.then_some(start + DAY);
            // Somewhere in its token's hour, or in its week.
            let past = HOUR * u32::from(tenant_id.as_bytes()[0]) / 256;
            row.expires_at = Some(start - past + HOUR);
            let week =
                7 * DAY * u32::from(u16::from_be_bytes([tenant_id.as_bytes()[1], tenant_id.as_bytes()[2]])) / 65_536;
            let mut at = if is_used { start + HOUR - past.min(HOUR) } else { start + week };
            while at < start + DAY {
                let tick = at.since(start).as_secs().div_ceil(TICK.as_secs());
                let now = start + TICK * u32::try_from(tick)?;
                *due.entry((tick, Kind::Refresh.shard_of(tenant_id))).or_default() += 1;
                if is_used {
                    refreshes += 1;
                    *versions.entry(tick).or_default() += 1;
                    row.expires_at = Some(now + HOUR);
                } else {
                    kept_alive += 1;
                }
                row = refresh::with_next_renewal(row, now);
                at = row.due.as_ref().map_or(now + DAY, |due| due.at);
            }
        }
    }
    let jobs: u64 = due.values().map(|count| count.div_ceil(JOB)).sum();
    let sends: u64 = due.values().map(|count| count.div_ceil(JOB).div_ceil(BATCH)).sum();
    let mut by_tick: BTreeMap<u64, u64> = BTreeMap::new();
    due.iter().for_each(|((tick, _), count)| *by_tick.entry(*tick).or_default() += count);
    let busiest = by_tick.values().max().copied().unwrap_or_default();

    let ticks = DAY.as_secs() / TICK.as_secs();
    let ours = Day { used: refreshes, idle: kept_alive, jobs, ticks, sends, notes: in_use * NOTES_A_DAY };
    let all = 2 * TENANTS * (DAY.as_secs() / (45 * 60));
    let old = Day { used: all, idle: 0, jobs: all.div_ceil(JOB), ticks, sends: all.div_ceil(JOB * BATCH), notes: 0 };
    report.figure("refreshes for use, keep-alives", &format!("{refreshes}, {kept_alive}"));
    report.figure("due in the busiest tick", &busiest.to_string());
    // They are worked off before the next tick.
    let writes = versions.values().max().copied().unwrap_or_default() as f64 / TICK.as_secs_f64();
    let vaults = (writes / VAULT_WRITES_A_SECOND).ceil();
    report.figure("new versions a second in the busiest tick, vaults they need", &format!("{writes:.1}, {vaults}"));
    // It read the secret and wrote a new version, and left the superseded one as it was.
    let plain = Cost { vault: 2, ..used };
    for (name, day, used) in [("ours", &ours, used), ("every 45 min for all", &old, plain)] {
        let [google, vault, invocations] = day.calls(used, idle);
        report.figure(&format!("{name}: Google, vault calls"), &format!("{google}, {vault}"));
        report.figure(&format!("{name}: invocations"), &invocations.to_string());
        report.figure(&format!("{name}: a month"), &format!("{:.0} US dollars", day.dollars(used, idle)));
    }
    report.at_most("ours against the old policy", ours.dollars(used, idle) / old.dollars(plain, idle), 0.2, "×");
    Ok(())
}

/// What happened in a day.
struct Day {
    used: u64,
    idle: u64,
    jobs: u64,
    ticks: u64,
    sends: u64,
    notes: u64,
}

impl Day {
    /// Google's, the vaults', and Lambda's invocations.
    fn calls(&self, used: Cost, idle: Cost) -> [u64; 3] {
        [
            self.used * used.google + self.idle * idle.google,
            self.used * used.vault + self.idle * idle.vault,
            self.jobs + self.ticks,
        ]
    }

    /// At list prices, for a month of such days.
    fn dollars(&self, used: Cost, idle: Cost) -> f64 {
        let [_, vault, invocations] = self.calls(used, idle);
        let millions = |count: f64| count / 1e6;
        let seconds = self.jobs as f64 * JOB_SECONDS + self.ticks as f64 * TICK_SECONDS;
        // A message is received and deleted by the event source; receiving is polled in batches, at one call each here.
        let queue = self.sends as f64 + 2.0 * self.jobs as f64;
        let of = |used: f64, idle: f64| self.used as f64 * used + self.idle as f64 * idle;
        let day = millions(invocations as f64) * price::LAMBDA_REQUESTS
            + seconds * MEMORY_GB * price::LAMBDA_GB_SECOND
            + millions(queue) * price::SQS_REQUESTS
            + millions(of(used.writes, idle.writes) + self.notes as f64) * price::TABLE_WRITES
            + millions(of(used.reads, idle.reads) + self.ticks as f64 * 8.0) * price::TABLE_READS
            + vault as f64 / 1e4 * price::VAULT_OPERATIONS;
        day * DAYS_A_MONTH
    }
}

/// One refresh through the functions, between simulators that count.
async fn measure_one_refresh(is_used: bool) -> anyhow::Result<Cost> {
    const ACCOUNT: &str = "someone@example.com";
    let world = World::start(Options::with_clock(Clock::System)).await?;
    let (store, now) = (world.store()?, world.clock.now());
    let tenant = Tenant { lifecycle: Lifecycle::Active, ..Tenant::new(TenantId::random(), ChatId(1)) };
    let tenant = store.save_tenant(&tenant, None).await?;
    world.google.has_account(ACCOUNT, "Someone", "Europe/Zurich");
    // Twice: the first one signs in.
    let mut before = (0, 0, 0.0, 0.0);
    for round in 0..2 {
        let (access, refresh_token) = world.google.has_consented(ACCOUNT, &[Provider::Gmail.scope()]);
        let name = Integration::secret_name(tenant.tenant_id, Provider::Gmail);
        let secret = json!({ "access_token": access, "refresh_token": refresh_token, "expires_at": now });
        let row = Integration {
            secret_version: world.azure.vault.put(&name, &secret.to_string()),
            expires_at: Some(now),
            ..Integration::new(tenant.tenant_id, Provider::Gmail, now)
        };
        let due = Some(refresh::due_entry(&row, now));
        let read = store.load_integration(tenant.tenant_id, Provider::Gmail).await?;
        let used_at = is_used.then_some(now);
        store.save_integration(&Integration { due, used_at, ..row }, read.map(|row| row.version)).await?;
        if round == 1 {
            world.journal.clear();
            world.table.clear_calls();
        }
        anyhow::ensure!(world.tick_refresh().await.due == 1, "one is due");
        world.table.clear_calls();
        world.run_until_idle().await;
        let sum = |is_write: bool| -> f64 {
            let calls = world.table.calls().into_iter().filter(|call| (call.operation != "GetItem") == is_write);
            calls.map(|call| call.units).sum()
        };
        before = (
            world.journal.entries_of("google").len(),
            world.journal.entries_of("key-vault").len(),
            sum(false),
            sum(true),
        );
    }
    let (google, vault, reads, writes) = before;
    anyhow::ensure!(google == 1, "{google} calls of Google");
    Ok(Cost { google: google as u64, vault: vault as u64, reads, writes })
}
