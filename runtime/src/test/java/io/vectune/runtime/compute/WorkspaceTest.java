package io.vectune.runtime.compute;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.vectune.runtime.tensor.Matrix;
import org.junit.jupiter.api.Test;

class WorkspaceTest {
    @Test
    void matricesDoNotOverlapUntilTheirMarkIsReleased() {
        try (Workspace workspace = new Workspace()) {
            Matrix first = workspace.matrix(3, 5);
            first.fill(1);
            long mark = workspace.mark();
            Matrix second = workspace.matrix(1 << 11, 1 << 12);
            second.fill(2);
            Matrix third = workspace.matrix(4, 4);
            third.fill(3);
            assertThat(first.toArray()).containsOnly(1f);
            assertThat(second.rows(5, 6).toArray()).containsOnly(2f);
            workspace.release(mark);
            assertThat(workspace.mark()).isEqualTo(mark);
            workspace.matrix(1, 7).fill(4);
            assertThat(first.toArray()).containsOnly(1f);
        }
    }

    @Test
    void theSamePlaceAndShapeIsTheSameView() {
        try (Workspace workspace = new Workspace()) {
            long mark = workspace.mark();
            Matrix first = workspace.matrix(30, 5);
            Matrix second = workspace.matrix(6, 7);
            workspace.release(mark);
            assertThat(workspace.matrix(30, 5)).isSameAs(first);
            assertThat(workspace.matrix(6, 7)).isSameAs(second);
            workspace.release(mark);
            Matrix other = workspace.matrix(5, 30);
            assertThat(other.rows()).isEqualTo(5);
            assertThat(other.columns()).isEqualTo(30);
            assertThat(workspace.matrix(6, 7).segment()).isEqualTo(other.segment());
        }
    }

    @Test
    void refusesAMarkThatIsNotBelow() {
        try (Workspace workspace = new Workspace()) {
            assertThatThrownBy(() -> workspace.release(1))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessage("mark: expected 0 to 0, found 1");
        }
    }
}
