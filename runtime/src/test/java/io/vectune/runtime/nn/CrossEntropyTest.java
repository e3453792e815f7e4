package io.vectune.runtime.nn;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import io.vectune.runtime.weight.DenseWeight;
import java.util.Arrays;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class CrossEntropyTest extends KernelTest {
    private OutputHead head(int vocabSize, int hiddenSize) {
        Tensor tensor = Tensor.allocate(arena, DType.F32, vocabSize, hiddenSize);
        for (long i = 0; i < tensor.elements(); i++) {
            tensor.setFloat(i, (float) random.nextGaussian());
        }
        return OutputHead.of(new DenseWeight(tensor));
    }

    private double oracle(OutputHead head, double[] hidden, int[] labels) {
        int n = head.hiddenSize();
        Matrix identity = Matrix.allocate(arena, n, n);
        for (int i = 0; i < n; i++) {
            identity.set(i, i, 1);
        }
        Matrix transposed = Matrix.allocate(arena, n, head.vocabSize());
        head.forward(single, identity, transposed);
        double[] weight = Numbers.doubles(transposed);
        double loss = 0;
        for (int token = 0; token < labels.length; token++) {
            if (labels[token] == CrossEntropy.IGNORED) {
                continue;
            }
            double sum = 0;
            double labelLogit = 0;
            for (int c = 0; c < head.vocabSize(); c++) {
                double logit = 0;
                for (int i = 0; i < n; i++) {
                    logit += hidden[token * n + i] * weight[i * head.vocabSize() + c];
                }
                sum += Math.exp(logit);
                labelLogit = c == labels[token] ? logit : labelLogit;
            }
            loss += Math.log(sum) - labelLogit;
        }
        return loss;
    }

    @ParameterizedTest
    @CsvSource({"1, 7, 5", "9, 33, 7", "6, 130, 4"})
    void matchesTheDoubleOracleAndItsDifferences(int tokens, int vocabSize, int hiddenSize) {
        OutputHead head = head(vocabSize, hiddenSize);
        Matrix hidden = Numbers.random(arena, random, tokens, hiddenSize);
        int[] labels = random.ints(tokens, 0, vocabSize).toArray();
        for (int token = 2; token < tokens; token += 3) {
            labels[token] = CrossEntropy.IGNORED;
        }
        Matrix gradHidden = Numbers.poisoned(arena, tokens, hiddenSize);
        double scale = 0.125;
        double loss = CrossEntropy.lossAndGradient(compute, head, hidden, labels, scale, gradHidden);
        double[] at = Numbers.doubles(hidden);
        assertThat(loss).isCloseTo(oracle(head, at, labels), within(1e-5 * tokens));
        Numbers.assertClose(gradHidden, Numbers.gradient(p -> scale * oracle(head, p, labels), at), 1e-5);
        assertThat(CrossEntropy.loss(single, head, hidden, labels)).isEqualTo(loss);
        for (int token = 2; token < tokens; token += 3) {
            assertThat(gradHidden.rows(token, token + 1).toArray()).containsOnly(0f);
        }
    }

    @Test
    void slicesGiveWhatOnePassGives() {
        // 1100 labelled tokens are three slices of at most 512.
        OutputHead head = head(50, 9);
        int tokens = 1300;
        Matrix hidden = Numbers.random(arena, random, tokens, 9);
        int[] labels = random.ints(tokens, 0, 50).toArray();
        Arrays.fill(labels, 500, 700, CrossEntropy.IGNORED);
        Matrix gradHidden = Numbers.poisoned(arena, tokens, 9);
        double loss = CrossEntropy.lossAndGradient(compute, head, hidden, labels, 1, gradHidden);
        double sum = 0;
        Matrix gradRow = Matrix.allocate(arena, 1, 9);
        for (int token = 0; token < tokens; token++) {
            int[] label = {labels[token]};
            sum += CrossEntropy.lossAndGradient(single, head, hidden.rows(token, token + 1), label, 1, gradRow);
            Numbers.assertClose(gradHidden.rows(token, token + 1), gradRow, 1e-5);
        }
        assertThat(loss).isCloseTo(sum, within(1e-6 * sum));
        Matrix alone = Numbers.poisoned(arena, tokens, 9);
        assertThat(CrossEntropy.lossAndGradient(single, head, hidden, labels, 1, alone)).isEqualTo(loss);
        Numbers.assertSameBits(alone, gradHidden);
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 15, 16, 17, 63, 2049, 5003})
    void vectorKernelMatchesTheScalarOne(int vocabSize) {
        Matrix logits = Numbers.random(arena, random, 3, vocabSize);
        Elementwise.scale(compute, 10, logits);
        Matrix scalar = Numbers.copy(arena, logits);
        Matrix vector = Numbers.copy(arena, logits);
        float[] scratch = new float[SoftmaxKernel.SCRATCH];
        for (int row = 0; row < 2; row++) {
            int label = row * (vocabSize - 1);
            float expected = new SoftmaxScalar().crossEntropy(scalar, row, label, 0.5f, row == 0, scratch);
            float found = new SoftmaxVector().crossEntropy(vector, row, label, 0.5f, row == 0, scratch);
            assertThat(found).isCloseTo(expected, within(1e-5f + 1e-6f * expected));
        }
        new SoftmaxScalar().softmax(scalar, 2, scratch);
        new SoftmaxVector().softmax(vector, 2, scratch);
        for (int row = 0; row < 3; row++) {
            double[] expected = Numbers.doubles(scalar.rows(row, row + 1));
            if (vocabSize > 1 || row > 0) {
                Numbers.assertClose(vector.rows(row, row + 1), expected, 1e-6);
            }
        }
    }

    @Test
    void softmaxSumsToOneAndSurvivesLargeValues() {
        Matrix x = Numbers.random(arena, random, 5, 77);
        Elementwise.scale(compute, 1e4f, x);
        Softmax.apply(compute, x);
        for (int row = 0; row < 5; row++) {
            double sum = 0;
            for (double value : Numbers.doubles(x.rows(row, row + 1))) {
                sum += value;
            }
            assertThat(sum).isCloseTo(1, within(1e-6));
        }
    }

    @Test
    void allIgnoredCostsNothing() {
        OutputHead head = head(11, 4);
        Matrix hidden = Numbers.random(arena, random, 3, 4);
        Matrix gradHidden = Numbers.poisoned(arena, 3, 4);
        int[] labels = {CrossEntropy.IGNORED, CrossEntropy.IGNORED, CrossEntropy.IGNORED};
        assertThat(CrossEntropy.lossAndGradient(compute, head, hidden, labels, 1, gradHidden)).isZero();
        assertThat(gradHidden.toArray()).containsOnly(0f);
    }

    @Test
    void refusesLabelsOutsideTheVocabulary() {
        OutputHead head = head(11, 4);
        Matrix hidden = Numbers.random(arena, random, 2, 4);
        assertThatThrownBy(() -> CrossEntropy.loss(compute, head, hidden, new int[] {0, 11}))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("labels[1]: expected 0 to 10 or -100, found 11");
    }
}
