//! Who has no assistant is answered now and then: every reply is one of the bot's thirty messages a second.

use std::time::Duration;

use nbhd_sim::telegram::updates;
use serde_json::{Value, json};

use crate::telegram::webhook_world::{ANA, SECRET, World};

#[tokio::test]
async fn a_stranger_is_welcomed_once_in_a_while_and_again_for_telegrams_retry() {
    let world = World::start().await;
    let mut answers = Vec::new();
    for (update_id, seconds) in [(1, 0), (2, 5), (3, 5), (1, 0), (4, 20), (5, 1)] {
        world.clock.advance(Duration::from_secs(seconds));
        answers.push(is_answered(&world, &message(update_id, 5_001)).await);
    }
    // The fourth is the first again, of which Telegram did not get the answer; the pause begins anew.
    assert_eq!(answers, [true, false, false, true, true, false]);
    assert!(is_answered(&world, &message(6, 5_002)).await, "another chat has its own pause");
    let retried = World::start().await;
    for _ in 0..2 {
        assert!(is_answered(&retried, &message(1, 5_001)).await);
    }
    assert!(world.queued().is_empty());
}

#[tokio::test]
async fn a_group_is_told_once_an_hour_where_we_work() {
    let world = World::start().await;
    let mut answers = Vec::new();
    for (update_id, minutes) in [(1, 0), (2, 1), (3, 58), (4, 1)] {
        world.clock.advance(Duration::from_secs(60 * minutes));
        let mut update = updates::in_group(-100, ANA, "/help@nbhd_bot");
        update["update_id"] = json!(update_id);
        answers.push(is_answered(&world, &update).await);
    }
    assert_eq!(answers, [true, false, false, true]);
    world.clock.advance(Duration::from_secs(60 * 60));
    // Talk is no command, and costs nothing.
    world.forget_calls();
    let mut talk = updates::in_group(-100, ANA, "hi all");
    talk["update_id"] = json!(9);
    assert!(!is_answered(&world, &talk).await && world.table_calls().is_empty());
}

#[tokio::test]
async fn many_strangers_at_once_get_a_third_of_what_the_bot_may_say_and_subscribers_all_of_theirs() {
    let world = World::start().await;
    let mut answered = 0;
    for stranger in 0..120 {
        answered += u32::from(is_answered(&world, &message(stranger, 6_000 + stranger)).await);
    }
    assert_eq!(answered, 100);
    // Another sandbox finds the count; this one does not even ask for it.
    world.forget_calls();
    assert!(!is_answered(&world, &message(200, 7_000)).await);
    assert_eq!(world.table_calls(), [("UpdateItem".to_owned(), false)], "its route, and nothing more");
    world.ana_says("/help").await;
    assert_eq!(world.telegram.texts_to(ANA).len(), 1);
    world.clock.advance(Duration::from_secs(10));
    assert!(is_answered(&world, &message(201, 7_000)).await);
}

async fn is_answered(world: &World, update: &Value) -> bool {
    let (status, answer) = world.post(Some(SECRET), update.to_string()).await;
    assert_eq!(status, 200);
    !answer.is_empty()
}

fn message(update_id: i64, chat: i64) -> Value {
    json!({"update_id": update_id, "message": {
        "message_id": update_id, "chat": {"id": chat, "type": "private"}, "from": {"id": chat, "first_name": "S"},
        "text": "hi",
    }})
}
