"""OpenRouter's own client against the simulated gateway: its models refuse an answer that is not of their form."""

import unittest
import uuid

from openrouter import OpenRouter, errors

from vendors import SETTINGS, asks

MODEL = "anthropic/claude-sonnet-4.5"
HELLO = [{"role": "user", "content": "Good morning."}]


def client(key: str) -> OpenRouter:
    return OpenRouter(api_key=key, server_url=SETTINGS["MODEL_GATEWAY_URL"])


class ModelGateway(unittest.TestCase):
    def setUp(self) -> None:
        self.keys = client(SETTINGS["MODEL_GATEWAY_MANAGEMENT_KEY"]).api_keys
        self.name = f"nbhd-{uuid.uuid4()}-1"

    def created(self, limit: float = 5):
        return self.keys.create(name=self.name, limit=limit, limit_reset="monthly")

    def listed(self, **which) -> list[str]:
        return [key.hash for key in self.keys.list(**which).data]

    def test_a_key_is_told_once_and_read_by_its_hash(self) -> None:
        made = self.created(19.99)
        self.assertRegex(made.key, r"^sk-or-v1-[0-9a-f]{64}$")
        read = self.keys.get(hash=made.data.hash).data
        self.assertEqual((read.name, read.limit, read.limit_reset), (self.name, 19.99, "monthly"))
        self.assertEqual((read.disabled, read.usage_monthly, read.limit_remaining), (False, 0, 19.99))
        self.assertTrue(made.key.startswith(read.label.split("...")[0]) and made.key.endswith(read.label[-3:]))

    def test_the_youngest_are_listed_first_and_disabled_ones_on_request(self) -> None:
        older, younger = self.created().data.hash, self.created().data.hash
        self.assertEqual(self.listed()[:2], [younger, older])
        self.keys.update(hash=younger, disabled=True)
        self.assertEqual(self.listed()[:1], [older])
        self.assertEqual(self.listed(include_disabled=True)[:2], [younger, older])
        self.assertEqual(self.listed(include_disabled=True, offset=1)[:1], [older])

    def test_a_page_is_a_hundred(self) -> None:
        made = [self.created().data.hash for _ in range(101)]
        self.assertEqual(self.listed(), made[:0:-1])
        self.assertEqual(self.listed(offset=100)[0], made[0])

    def test_a_change_leaves_the_rest_and_null_lifts_a_limit(self) -> None:
        made = self.created().data
        changed = self.keys.update(hash=made.hash, disabled=True).data
        self.assertEqual((changed.disabled, changed.limit, changed.name), (True, 5, self.name))
        self.assertIsNotNone(changed.updated_at)
        lifted = self.keys.update(hash=made.hash, limit=None).data
        self.assertEqual((lifted.disabled, lifted.limit, lifted.limit_remaining), (True, None, None))

    def test_a_deleted_key_is_gone(self) -> None:
        made = self.created()
        self.keys.delete(hash=made.data.hash)
        self.assertNotIn(made.data.hash, self.listed(include_disabled=True))
        self.assertNotIn(made.data.hash, self.listed(include_disabled=True))
        for ask in [self.keys.get, self.keys.delete, self.keys.update]:
            with self.assertRaises(errors.NotFoundResponseError):
                ask(hash=made.data.hash)
        with self.assertRaises(errors.UnauthorizedResponseError):
            client(made.key).chat.send(model=MODEL, messages=HELLO)

    def test_a_wrong_key_and_a_form_that_is_none_are_refused(self) -> None:
        with self.assertRaises(errors.UnauthorizedResponseError):
            client("sk-or-v1-wrong").api_keys.list()
        with self.assertRaises(errors.BadRequestResponseError):
            self.keys.create(name="")
        with self.assertRaises(errors.BadRequestResponseError):
            self.created(-1)

    def test_a_throttled_client_is_told_for_how_long(self) -> None:
        asks("/throttle/gateway")
        with self.assertRaises(errors.TooManyRequestsResponseError) as throttled:
            self.keys.list()
        self.assertEqual(throttled.exception.headers["Retry-After"], "1")

    def test_a_completion_costs_what_it_says(self) -> None:
        made = self.created()
        answer = client(made.key).chat.send(model=MODEL, messages=HELLO)
        self.assertEqual(answer.choices[0].message.content, "I have read 1 message(s).")
        self.assertEqual((answer.model, answer.choices[0].finish_reason), (MODEL, "stop"))
        usage = answer.usage
        self.assertEqual(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens)
        read = self.keys.get(hash=made.data.hash).data
        self.assertGreater(usage.cost, 0)
        self.assertEqual((read.usage, read.usage_daily), (usage.cost, usage.cost))
        self.assertAlmostEqual(read.limit_remaining, 5 - usage.cost)

    def test_a_stream_says_the_same_word_by_word_and_its_cost_at_the_end(self) -> None:
        made = self.created()
        with client(made.key).chat.send(model=MODEL, messages=HELLO, stream=True) as stream:
            chunks = list(stream)
        choices = [chunk.choices[0] for chunk in chunks]
        self.assertGreater(len(choices), 3)
        self.assertEqual("".join(choice.delta.content for choice in choices), "I have read 1 message(s).")
        self.assertEqual([choice.finish_reason for choice in choices if choice.finish_reason], ["stop"])
        self.assertEqual(self.keys.get(hash=made.data.hash).data.usage, chunks[-1].usage.cost)

    def test_a_key_over_its_limit_or_switched_off_calls_no_model(self) -> None:
        made = self.created(0.01)
        asks(f"/spend/{made.data.hash}/10000")
        with self.assertRaises(errors.PaymentRequiredResponseError) as refused:
            client(made.key).chat.send(model=MODEL, messages=HELLO)
        self.assertEqual(refused.exception.data.error.metadata["limit_source"], "openrouter_key_limit")
        self.keys.update(hash=made.data.hash, limit=1, disabled=True)
        with self.assertRaises(errors.UnauthorizedResponseError):
            client(made.key).chat.send(model=MODEL, messages=HELLO)
        self.keys.update(hash=made.data.hash, disabled=False)
        self.assertEqual(client(made.key).chat.send(model=MODEL, messages=HELLO).choices[0].index, 0)
