//! `telegram-forward` stopped dead at each of its requests, and run again.

use nbhd_sim::runtime::Failure;

use crate::telegram::forward_world::{ANA, World};

#[tokio::test]
async fn stopped_between_any_two_effects_nothing_is_lost_or_said_twice() {
    for requests in 1.. {
        let world = World::start().await;
        let runtime = world.add_chat(ANA).await;
        runtime.set_interruption(world.journal.interruption());
        world.table.set_interruption(world.journal.interruption());
        world.says(ANA, 1).await;
        // It waits long enough for the word, is stopped at each request of two attempts, and then delivered.
        runtime.faults.fail_any(Failure::Status(503));
        world.advance(11);
        let stopped = world.journal.interruption().stop_after(requests, world.run_until_idle()).await;
        world.run_until_idle().await;
        assert_eq!(runtime.update_ids(), [1], "stopped at request {requests}");
        assert!(world.telegram.texts_to(ANA).len() <= 1, "stopped at request {requests}");
        assert_eq!(world.dead_letters(), [0; 0], "stopped at request {requests}");
        if stopped.is_some() {
            assert!(requests > 6, "two attempts make more requests than {requests}");
            return;
        }
    }
}

#[tokio::test]
async fn stopped_while_dead_lettering_the_message_is_kept_and_the_person_notified() {
    for requests in 1.. {
        let world = World::start().await;
        let runtime = world.add_chat(ANA).await;
        runtime.set_interruption(world.journal.interruption());
        world.table.set_interruption(world.journal.interruption());
        runtime.faults.fail_with(|_| Some(Failure::Status(400)));
        world.says(ANA, 1).await;
        let stopped = world.journal.interruption().stop_after(requests, world.drain()).await;
        world.run_until_idle().await;
        assert_eq!(world.dead_letters(), [1], "stopped at request {requests}");
        assert!(!world.telegram.texts_to(ANA).is_empty(), "stopped at request {requests}");
        if stopped.is_some() {
            return;
        }
    }
}
