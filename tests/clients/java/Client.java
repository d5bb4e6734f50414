// Drives the official Java client with JSON lines: one command per line on standard input, one answer or event per line on
// standard output. The commands are those of the .NET client's driver (connect, handle, invoke, send, stream, cancel, upload,
// stop, start); ../lines.py sends them. Values are Gson's own trees, so that they pass through unchanged.
import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonNull;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import com.google.gson.JsonPrimitive;
import com.microsoft.signalr.HttpHubConnectionBuilder;
import com.microsoft.signalr.HubConnection;
import com.microsoft.signalr.HubConnectionBuilder;
import com.microsoft.signalr.TransportEnum;
import io.reactivex.rxjava3.core.Observable;
import io.reactivex.rxjava3.core.Single;
import io.reactivex.rxjava3.disposables.Disposable;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;

public final class Client {
    private static final Gson GSON = new GsonBuilder().serializeNulls().disableHtmlEscaping().create();
    private static final PrintStream OUT = new PrintStream(new java.io.FileOutputStream(java.io.FileDescriptor.out), true, StandardCharsets.UTF_8);
    private static final Map<String, HubConnection> CONNECTIONS = new ConcurrentHashMap<>();
    private static final Map<String, Runnable> STREAMS = new ConcurrentHashMap<>();

    public static void main(String[] none) throws Exception {
        ExecutorService threads = Executors.newCachedThreadPool();
        BufferedReader input = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line; (line = input.readLine()) != null; ) {
            if (line.isEmpty()) continue;
            JsonObject command = JsonParser.parseString(line).getAsJsonObject();
            threads.execute(() -> run(command));
        }
        Runtime.getRuntime().halt(0); // OkHttp's threads would keep the process running for a minute
    }

    private static synchronized void say(JsonObject line) {
        OUT.println(GSON.toJson(line));
    }

    private static void run(JsonObject command) {
        JsonObject answer = new JsonObject();
        answer.add("id", command.get("id"));
        try {
            JsonElement result = execute(command);
            if (result == null) answer.addProperty("ok", true);
            else answer.add("result", result);
        } catch (Throwable error) {
            Throwable cause = error instanceof RuntimeException && error.getCause() != null ? error.getCause() : error;
            answer.addProperty("error", String.valueOf(cause.getMessage()));
            answer.addProperty("type", cause.getClass().getSimpleName());
        }
        say(answer);
    }

    private static String text(JsonObject command, String key) {
        return command.has(key) && !command.get(key).isJsonNull() ? command.get(key).getAsString() : null;
    }

    private static JsonElement execute(JsonObject command) throws Exception {
        String op = text(command, "op");
        String name = text(command, "on");
        if (op.equals("connect")) {
            HubConnection opened = build(name, command);
            CONNECTIONS.put(name, opened);
            if (command.has("handlers")) command.getAsJsonArray("handlers").forEach(handler -> handle(name, opened, handler.getAsJsonObject()));
            return start(opened);
        }
        HubConnection connection = CONNECTIONS.get(name);
        if (connection == null) throw new IllegalStateException("no connection \"" + name + "\"");
        String method = text(command, "method");
        Object[] args = command.has("args") ? items(command.getAsJsonArray("args")).toArray() : new Object[0];
        switch (op) {
            case "handle":
                handle(name, connection, command);
                return null;
            case "invoke":
                if (command.has("void")) {
                    if (!connection.invoke(method, args).blockingAwait(30, TimeUnit.SECONDS)) throw new IllegalStateException("no completion");
                    return null;
                }
                return connection.invoke(JsonElement.class, method, args).timeout(30, TimeUnit.SECONDS).blockingGet();
            case "send":
                connection.send(method, args);
                return null;
            case "stream":
                return stream(command, connection, method, args);
            case "cancel":
                STREAMS.get(text(command, "stream")).run();
                return null;
            case "upload": {
                List<Object> all = new ArrayList<>(List.of(args));
                command.getAsJsonArray("uploads").forEach(list -> all.add(upload(items(list.getAsJsonArray()), command)));
                return connection.invoke(JsonElement.class, method, all.toArray()).timeout(30, TimeUnit.SECONDS).blockingGet();
            }
            case "stop":
                if (!connection.stop().blockingAwait(10, TimeUnit.SECONDS)) throw new IllegalStateException("did not stop");
                return null;
            case "start":
                return start(connection);
            default:
                throw new IllegalArgumentException("no operation \"" + op + "\"");
        }
    }

    private static List<Object> items(JsonArray array) {
        List<Object> list = new ArrayList<>();
        array.forEach(item -> list.add(item.isJsonNull() ? null : item));
        return list;
    }

    private static Observable<Object> upload(List<Object> items, JsonObject command) {
        Observable<Object> all = Observable.fromIterable(items);
        if (command.has("delay")) all = all.concatMap(item -> Observable.just(item).delay(command.get("delay").getAsLong(), TimeUnit.MILLISECONDS));
        String fail = text(command, "fail");
        return fail == null ? all : all.concatWith(Observable.error(new RuntimeException(fail)));
    }

    private static JsonElement stream(JsonObject command, HubConnection connection, String method, Object[] args) throws Exception {
        AtomicInteger count = new AtomicInteger();
        int take = command.has("take") ? command.get("take").getAsInt() : Integer.MAX_VALUE;
        CompletableFuture<Integer> done = new CompletableFuture<>();
        CompletableFuture<Disposable> subscription = new CompletableFuture<>();
        Runnable cancel = () -> subscription.thenAccept(disposable -> {
            disposable.dispose();
            done.complete(count.get());
        });
        STREAMS.put(text(command, "id"), cancel);
        subscription.complete(connection.stream(JsonElement.class, method, args).subscribe(item -> {
            JsonObject line = new JsonObject();
            line.add("id", command.get("id"));
            line.add("item", item);
            say(line);
            if (count.incrementAndGet() == take) cancel.run();
        }, done::completeExceptionally, () -> done.complete(count.get())));
        try {
            return new JsonPrimitive(done.get(30, TimeUnit.SECONDS));
        } catch (java.util.concurrent.ExecutionException failed) {
            throw new RuntimeException(failed.getCause());
        }
    }

    private static JsonElement start(HubConnection connection) {
        if (!connection.start().blockingAwait(10, TimeUnit.SECONDS)) throw new IllegalStateException("did not start");
        String id = connection.getConnectionId();
        return id == null ? JsonNull.INSTANCE : new JsonPrimitive(id);
    }

    private static HubConnection build(String name, JsonObject command) {
        HttpHubConnectionBuilder builder = HubConnectionBuilder.create(text(command, "url"));
        String transport = text(command, "transport");
        if (transport != null) builder.withTransport(transport.equals("WebSockets") ? TransportEnum.WEBSOCKETS : TransportEnum.LONG_POLLING);
        if (command.has("skipNegotiation")) builder.shouldSkipNegotiate(command.get("skipNegotiation").getAsBoolean());
        if (command.has("token")) builder.withAccessTokenProvider(Single.just(text(command, "token")));
        HubConnection connection = builder.build();
        if (command.has("serverTimeout")) connection.setServerTimeout(command.get("serverTimeout").getAsLong());
        if (command.has("keepAlive")) connection.setKeepAliveInterval(command.get("keepAlive").getAsLong());
        connection.onClosed(error -> {
            JsonObject line = new JsonObject();
            line.addProperty("event", "closed");
            line.addProperty("on", name);
            line.addProperty("error", error == null ? null : error.getMessage());
            say(line);
        });
        return connection;
    }

    private static void heard(String name, String method, JsonElement... args) {
        JsonObject line = new JsonObject();
        JsonArray list = new JsonArray();
        for (JsonElement arg : args) list.add(arg);
        line.addProperty("event", "message");
        line.addProperty("on", name);
        line.addProperty("method", method);
        line.add("args", list);
        say(line);
    }

    private static void handle(String name, HubConnection connection, JsonObject handler) {
        String method = text(handler, "method");
        Class<JsonElement> any = JsonElement.class;
        if (handler.has("answer") || handler.has("echo") || handler.has("fail")) {
            connection.onWithResult(method, (JsonElement question) -> {
                heard(name, method, question);
                if (handler.has("fail")) return Single.error(new RuntimeException(text(handler, "fail")));
                return Single.just(handler.has("echo") ? question : handler.get("answer"));
            }, any);
            return;
        }
        switch (handler.has("count") ? handler.get("count").getAsInt() : 0) {
            case 0 -> connection.on(method, () -> heard(name, method));
            case 1 -> connection.on(method, one -> heard(name, method, one), any);
            case 2 -> connection.on(method, (one, two) -> heard(name, method, one, two), any, any);
            default -> connection.on(method, (one, two, three) -> heard(name, method, one, two, three), any, any, any);
        }
    }
}
