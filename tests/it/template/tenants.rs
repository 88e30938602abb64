//! What the template promises tenants, and what one of them can do to the rest.

use nbhd::domain::backups::{DEAD_LETTERS, LOGS, TABLE_BACKUP};
use nbhd::store::TROUBLE_WINDOW;

use super::reading::Template;

const DAY: u64 = 24 * 60 * 60;

pub(super) fn backups_last_as_long_as_receipts_say(template: &Template) {
    let table = &template.resource("Table")["Properties"]["PointInTimeRecoverySpecification"];
    assert_eq!(table["RecoveryPeriodInDays"], TABLE_BACKUP.as_secs() / DAY);
    let dead_letters = &template.resource("InboundDeadLetters")["Properties"]["MessageRetentionPeriod"];
    assert_eq!(*dead_letters, DEAD_LETTERS.as_secs());
    let logs = template.of_type("AWS::Logs::LogGroup");
    assert_eq!(logs.len(), 2);
    for (name, group) in logs {
        assert_eq!(group["Properties"]["RetentionInDays"], LOGS.as_secs() / DAY, "{name}");
    }
}

pub(super) fn no_tenant_alone_rings_an_alarm_on_deliveries(template: &Template) {
    for name in ["TenantsLosingMessages", "TenantsRefusingSecret"] {
        let alarms = template.alarms();
        let alarm = alarms.iter().find(|alarm| alarm["MetricName"] == name).expect(name);
        assert_eq!((&alarm["Statistic"], alarm["Period"].as_u64()), (&"Sum".into(), Some(TROUBLE_WINDOW.as_secs())));
        // A tenant counts once in the window, and at most twice in a period.
        assert!(alarm["Threshold"].as_u64() >= Some(2), "{name}");
    }
    let waiting = &template.resource("InboundDeadLettersWaiting")["Properties"];
    assert!(waiting["Threshold"].as_u64() >= Some(1_000) && waiting["Statistic"] == "Minimum", "{waiting}");
}
