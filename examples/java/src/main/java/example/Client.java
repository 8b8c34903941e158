package example;

import com.google.gson.Gson;
import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.util.Timestamps;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.StatusRuntimeException;
import io.grpc.health.v1.HealthCheckRequest;
import io.grpc.health.v1.HealthCheckResponse;
import io.grpc.health.v1.HealthGrpc;
import io.grpc.protobuf.StatusProto;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.TimeUnit;
import java.util.function.Supplier;
import tokenbroker.v1.DeleteRequest;
import tokenbroker.v1.GetRequest;
import tokenbroker.v1.Precondition;
import tokenbroker.v1.StoreRequest;
import tokenbroker.v1.TokenBrokerGrpc;
import tokenbroker.v1.TokenBrokerGrpc.TokenBrokerBlockingStub;
import tokenbroker.v1.UpstreamTokens;

/**
 * A small client of the token broker: it waits until the broker serves, stores and reads tokens, and reads errors.
 *
 * <p>usage: java ... example.Client [ADDRESS]
 */
public final class Client {
  /** Deadlines and retries. gRPC itself obeys the broker's grpc-retry-pushback-ms. */
  private static final Path SERVICE_CONFIG = Path.of("../service_config.json");

  public static void main(String[] arguments) throws IOException, InterruptedException {
    String address = arguments.length > 0 ? arguments[0] : "127.0.0.1:50051";
    Map<String, ?> config = new Gson().fromJson(Files.readString(SERVICE_CONFIG), Map.class);
    ManagedChannel channel =
        Grpc.newChannelBuilder(address, InsecureChannelCredentials.create())
            .defaultServiceConfig(config)
            .build();
    try {
      waitUntilServing(channel);
      System.out.println("health: SERVING");
      run(TokenBrokerGrpc.newBlockingStub(channel));
    } finally {
      channel.shutdownNow().awaitTermination(5, TimeUnit.SECONDS);
    }
  }

  /** Returns when the broker serves, and fails after ten seconds. */
  private static void waitUntilServing(ManagedChannel channel) {
    Iterator<HealthCheckResponse> states =
        HealthGrpc.newBlockingStub(channel)
            .withWaitForReady()
            .withDeadlineAfter(10, TimeUnit.SECONDS)
            .watch(HealthCheckRequest.getDefaultInstance());
    while (states.next().getStatus() != HealthCheckResponse.ServingStatus.SERVING) {}
  }

  private static void run(TokenBrokerBlockingStub broker) {
    String session = "example-java-" + UUID.randomUUID();
    UpstreamTokens tokens =
        UpstreamTokens.newBuilder()
            .setAccessToken("an-access-token")
            .setRefreshToken("a-refresh-token")
            .setUserId("alice")
            .addScopes("repo")
            // For a token without an end don't set this: second 0 isn't accepted.
            .setExpiresAt(Timestamps.fromMillis(System.currentTimeMillis() + 3_600_000))
            .build();
    StoreRequest.Builder row =
        StoreRequest.newBuilder().setSessionId(session).setProvider("github").setTokens(tokens);

    show(
        "store",
        () -> {
          // A write that depends on what was read names the version. Another caller may have been faster.
          long version = broker.store(row.build()).getVersion();
          row.setPrecondition(Precondition.newBuilder().setVersion(version));
          return "ok";
        });
    show("get", () -> get(broker, session, "github"));
    show("store on the version", () -> store(broker, row.build()));
    show("store on an old version", () -> store(broker, row.build()));
    show("get of an unknown row", () -> get(broker, session, "google"));

    StoreRequest nonsense =
        StoreRequest.newBuilder()
            .setSessionId(session)
            .setTokens(tokens.toBuilder().addScopes("two scopes"))
            .build();
    show("store of nonsense", () -> store(broker, nonsense));

    DeleteRequest all =
        DeleteRequest.newBuilder().setSessionId(session).setAllProviders(true).build();
    show("delete", () -> broker.delete(all).getDeleted() + " row");
  }

  private static String store(TokenBrokerBlockingStub broker, StoreRequest request) {
    broker.store(request);
    return "ok";
  }

  private static String get(TokenBrokerBlockingStub broker, String session, String provider) {
    GetRequest request =
        GetRequest.newBuilder().setSessionId(session).setProvider(provider).build();
    var entry = broker.get(request).getEntry();
    return "tokens of " + entry.getTokens().getUserId() + ", expired " + entry.getExpired();
  }

  /** Makes a call, and prints what came of it. */
  private static void show(String name, Supplier<String> call) {
    String outcome;
    try {
      outcome = call.get();
    } catch (StatusRuntimeException error) {
      outcome = describe(error);
    }
    System.out.println(name + ": " + outcome);
  }

  /** Returns an error's code, reason, and the fields that are wrong. A program decides by the reason. */
  private static String describe(StatusRuntimeException error) {
    List<String> words = new ArrayList<>(List.of(error.getStatus().getCode().name()));
    try {
      for (Any detail : StatusProto.fromThrowable(error).getDetailsList()) {
        if (detail.is(ErrorInfo.class)) {
          words.add(detail.unpack(ErrorInfo.class).getReason());
        } else if (detail.is(BadRequest.class)) {
          for (var violation : detail.unpack(BadRequest.class).getFieldViolationsList()) {
            words.add(violation.getField());
          }
        }
      }
    } catch (InvalidProtocolBufferException malformed) {
      words.add("with details that can't be read");
    }
    return String.join(" ", words);
  }

  private Client() {}
}
