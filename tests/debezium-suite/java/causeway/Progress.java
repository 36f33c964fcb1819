package causeway;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import org.junit.platform.engine.TestExecutionResult;
import org.junit.platform.engine.support.descriptor.ClassSource;
import org.junit.platform.engine.support.descriptor.MethodSource;
import org.junit.platform.launcher.TestExecutionListener;
import org.junit.platform.launcher.TestIdentifier;

/**
 * Writes a line when a test begins and one when it ends, so that a run that hangs or is killed still tells which test
 * it was in and what the ones before it did. Fields: what, class, method, milliseconds, first line of the reason.
 */
public class Progress implements TestExecutionListener {
    private final Path file = Path.of(System.getProperty("suite.progress", "progress.tsv"));
    private long begun = System.currentTimeMillis();

    @Override
    public void executionStarted(TestIdentifier test) {
        if (test.isTest()) {
            begun = System.currentTimeMillis();
            write("started", test, "");
        }
    }

    @Override
    public void executionSkipped(TestIdentifier test, String reason) {
        write(test.isTest() ? "skipped" : "class-skipped", test, reason);
    }

    @Override
    public void executionFinished(TestIdentifier test, TestExecutionResult result) {
        String reason = result.getThrowable().map(String::valueOf).orElse("");
        switch (result.getStatus()) {
            case SUCCESSFUL -> {
                if (test.isTest()) {
                    write("passed", test, "");
                }
            }
            case ABORTED -> write(test.isTest() ? "skipped" : "class-skipped", test, reason);
            case FAILED -> write(test.isTest() ? "failed" : "class-failed", test, reason);
        }
    }

    private void write(String what, TestIdentifier test, String reason) {
        String type = "";
        String method = "";
        if (test.getSource().orElse(null) instanceof MethodSource source) {
            type = source.getClassName();
            method = source.getMethodName();
        } else if (test.getSource().orElse(null) instanceof ClassSource source) {
            type = source.getClassName();
        } else if (!what.contains("failed")) {
            return;
        }
        type = type.substring(type.lastIndexOf('.') + 1);
        String line = String.join("\t", what, type, method, Long.toString(System.currentTimeMillis() - begun),
                reason.strip().replaceAll("\\s+", " "));
        try {
            Files.writeString(file, line.substring(0, Math.min(line.length(), 600)) + "\n", StandardOpenOption.CREATE,
                    StandardOpenOption.APPEND);
        } catch (IOException e) {
            throw new IllegalStateException("writing " + file, e);
        }
    }
}
