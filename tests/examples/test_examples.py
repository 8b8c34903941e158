"""Runs each example client against a real broker, and against one that fails now and then."""

import pytest
from grpc import StatusCode

import blocks
from client import AUTH_SERVER, EXAMPLES, LANGUAGES, Client, run
from faults import Fault, Faults
from support.paths import ROOT

PRINTED = """\
health: SERVING
store: ok
get: tokens of alice, expired false
store on the version: ok
store on an old version: FAILED_PRECONDITION VERSION_MISMATCH
get of an unknown row: NOT_FOUND ROW_NOT_FOUND
store of nonsense: INVALID_ARGUMENT INVALID_FIELD provider tokens.scopes[1]
delete: 1 row
""".splitlines()

# Longer than the clients would wait by themselves, which is 0.12 s before the first repetition.
PUSHBACK = 400


def check(printed: list[str], expected: list[str]) -> None:
    """Fails if a client printed something else than it should."""
    assert printed == expected


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_client_stores_reads_and_understands_errors(clients, broker, language):
    check(clients[language].result().run(broker.address), PRINTED)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_client_repeats_what_may_be_repeated_when_the_broker_asks_for_it(clients, broker, language):
    client = clients[language].result()
    unavailable = StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE"
    plan = {
        # Nothing was done: it is repeated. The next may have been done, and a write isn't repeated blindly.
        "Store": [
            Fault(StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED", PUSHBACK),
            None,
            Fault(StatusCode.UNAVAILABLE),
        ],
        # A read is repeated, unless the broker says that it shouldn't be.
        "Get": [Fault(*unavailable, PUSHBACK), None, Fault(*unavailable, -1)],
        "Delete": [Fault(StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED", PUSHBACK)],
    }
    expected = PRINTED.copy()
    expected[3:6] = [
        "store on the version: UNAVAILABLE",
        "store on an old version: ok",
        "get of an unknown row: UNAVAILABLE STORE_UNAVAILABLE",
    ]
    with Faults(broker.address, plan) as proxy:
        check(client.run(proxy.address), expected)
    assert {rpc: len(attempts) for rpc, attempts in proxy.attempts.items()} == {
        "Store": 5,
        "Get": 3,
        "Delete": 2,
    }
    for rpc, attempts in proxy.attempts.items():
        waited = attempts[1].at - attempts[0].at
        assert waited >= PUSHBACK / 1000, f"{rpc}: {waited:.3f} s"
        for attempt in attempts:
            assert 0 < attempt.allowed < 6, f"{rpc}: {attempt}"


@pytest.mark.parametrize(
    "printed",
    ["", "\n".join(PRINTED[:-1]), "\n".join([*PRINTED, "more"]), "\n".join(PRINTED).replace("ok", "OK")],
)
def test_a_client_that_prints_something_else_is_noticed(printed):
    client = Client(EXAMPLES, f"printf '%s' \"{printed}\" # 127.0.0.1:50051")
    with pytest.raises(AssertionError):
        check(client.run("127.0.0.1:1"), PRINTED)


def test_a_client_that_fails_is_noticed():
    script = "printf '%s\\n' \"{}\"; exit 1 # 127.0.0.1:50051".format("\n".join(PRINTED))
    with pytest.raises(AssertionError):
        Client(EXAMPLES, script).run("127.0.0.1:1")


def test_node_reads_an_error_with_many_violations_at_once(clients, broker):
    """Node's gRPC used to hang until its deadline over an error of this size."""
    folder = clients["typescript"].result().folder
    script = """
      const { credentials, Metadata } = require("@grpc/grpc-js");
      const { StoreRequest, TokenBrokerClient } = require("./build/gen/tokenbroker/v1/token_broker");
      const broker = new TokenBrokerClient("127.0.0.1:50051", credentials.createInsecure());
      const request = StoreRequest.create({ tokens: { scopes: Array(500).fill("") } });
      const start = Date.now();
      broker.store(request, new Metadata(), { deadline: start + 10000 }, (error) => {
        console.log(error.code, error.metadata.get("grpc-status-details-bin").length, Date.now() - start < 5000);
        broker.close();
      });
    """
    client = Client(folder, f"node -e '{script}'")
    check(client.run(broker.address), ["3 1 true"])


def test_the_auth_server_in_go_builds_as_its_page_says_and_understands_each_answer_of_a_provider():
    """The suite `fleet` runs it against brokers and a provider."""
    (build,) = [block for block in blocks.read(AUTH_SERVER / "README.md") if block.tag in blocks.RUN]
    run(build.text + "go vet .\ngo test .\n", AUTH_SERVER, 280)


def test_the_page_about_clients_shows_the_template_of_the_example():
    page = (ROOT / "docs/clients.md").read_text()
    template = (EXAMPLES / "go/buf.gen.yaml").read_text()
    assert f"```yaml\n{template}```\n" in page
