import java.nio.file.Path;
import java.util.List;
import java.util.Map;

import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.node.InternalSettingsPreparer;
import org.elasticsearch.node.Node;
import org.elasticsearch.transport.Netty4Plugin;

/** One node of Elasticsearch 7.17 on the loopback: Elasticsearch7 HOME PORT NAME. It ends with the process. */
public class Elasticsearch7 extends Node {
    private Elasticsearch7(Settings settings, Path config, String name) {
        super(InternalSettingsPreparer.prepareEnvironment(settings, Map.of(), config, () -> name),
            List.of(Netty4Plugin.class), false);
    }

    public static void main(String[] args) throws Exception {
        Path home = Path.of(args[0]).toAbsolutePath();
        Settings settings = Settings.builder()
            .put("path.home", home.toString())
            .put("cluster.name", args[2])
            .put("node.name", args[2])
            .put("http.port", args[1])
            .put("transport.port", "0")
            .put("network.host", "127.0.0.1")
            .put("discovery.type", "single-node")
            .put("http.type", "netty4")
            .put("transport.type", "netty4")
            .put("cluster.routing.allocation.disk.threshold_enabled", "false")
            .build();
        new Elasticsearch7(settings, home.resolve("config"), args[2]).start();
        Thread.currentThread().join(); // the node's own threads do not keep the process alive
    }
}
