package io.strimzi.test.container;

/** Only a name: a class of Debezium's tests has a field of this type, which no test of its SQL Server connector fills. */
public class StrimziKafkaCluster {
    public String getBootstrapServers() {
        throw new UnsupportedOperationException("no Kafka cluster runs here");
    }
}
