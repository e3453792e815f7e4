package io.vectune.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.List;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

class LossPlotTest {
    @Test
    void textFallsFromLeftToRight() {
        List<Double> losses = IntStream.range(0, 100).mapToObj(i -> 5.0 - 0.04 * i).toList();
        String[] lines = new LossPlot(losses).text(20, 5).split("\\R", -1);
        assertThat(lines).hasSize(7);
        assertThat(lines[0]).contains("|****");
        assertThat(lines[0].indexOf('*')).isLessThan(lines[4].indexOf('*'));
        assertThat(lines[6]).endsWith("100  step");
    }

    @Test
    void aFlatCurveAndASingleStepAreDrawn() {
        assertThat(new LossPlot(List.of(1.0, 1.0, 1.0)).text(10, 4)).contains("***");
        assertThat(new LossPlot(List.of(2.5)).svg()).contains("points=\"360.0,").doesNotContain("NaN");
    }

    @Test
    void noStepsAreRefused() {
        assertThatThrownBy(() -> new LossPlot(List.of())).hasMessageContaining("at least one step");
    }
}
