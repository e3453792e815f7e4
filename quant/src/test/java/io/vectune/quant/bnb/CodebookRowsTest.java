package io.vectune.quant.bnb;

import io.vectune.quant.WeightChecks;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.ThreadTeam;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.Arena;
import java.util.SplittableRandom;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class CodebookRowsTest {
    @ParameterizedTest
    @CsvSource({
        "NF4, 3, 128, 64, false",
        "FP4, 33, 192, 64, true",
        "NF4, 7, 576, 64, true",
        "NF4, 9, 576, 128, false",
        "FP4, 5, 640, 4096, false"
    })
    void multipliesAsItDecodes(FourBitType type, int outFeatures, int inFeatures, int blockSize, boolean nested) {
        SplittableRandom random = new SplittableRandom(4);
        try (Arena arena = Arena.ofShared();
                ThreadTeam team = ThreadTeam.of(1);
                Compute compute = new Compute(team)) {
            Tensor tensor = Tensor.allocate(arena, DType.F32, outFeatures, inFeatures);
            for (long i = 0; i < tensor.elements(); i++) {
                tensor.segment().set(Tensor.FLOAT, 4 * i, (float) random.nextDouble(-1, 1));
            }
            FourBitConfig config = new FourBitConfig(type, blockSize, nested, DType.U8);
            WeightChecks.products(FourBitQuantizer.quantize(compute, "weight", tensor, config, arena));
        }
    }
}
