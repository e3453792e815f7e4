package io.vectune.models.flux;

import java.util.List;

/// The shape of a Flux transformer, with the names of diffusers' config.json.
///
/// @param inChannels features of one packed latent token: 64, or 128 with a control image beside it
/// @param outChannels features of one predicted token
/// @param numLayers double stream blocks: text and image have weights of their own
/// @param numSingleLayers single stream blocks: one set of weights for the joined sequence
/// @param headDim features of one head
/// @param heads attention heads
/// @param jointAttentionDim features of one text token
/// @param pooledProjectionDim features of the pooled text
/// @param guidanceEmbeds whether the guidance scale is an input
/// @param axesDims elements of a head that are rotated by each axis of the ids
public record FluxConfig(
        int inChannels,
        int outChannels,
        int numLayers,
        int numSingleLayers,
        int headDim,
        int heads,
        int jointAttentionDim,
        int pooledProjectionDim,
        boolean guidanceEmbeds,
        List<Integer> axesDims) {
    /// Base of the rotary frequencies.
    public static final double ROPE_THETA = 10_000;

    /// eps of all norms.
    public static final float NORM_EPS = 1e-6f;

    /// Features of the sinusoidal embedding of timestep and guidance.
    public static final int TIMESTEP_CHANNELS = 256;

    private static final int MLP_RATIO = 4;

    public FluxConfig {
        axesDims = List.copyOf(axesDims);
        positive("in_channels", inChannels);
        positive("out_channels", outChannels);
        positive("attention_head_dim", headDim);
        positive("num_attention_heads", heads);
        positive("joint_attention_dim", jointAttentionDim);
        positive("pooled_projection_dim", pooledProjectionDim);
        if (numLayers < 0 || numSingleLayers < 0) {
            throw new IllegalArgumentException(
                    "num_layers and num_single_layers: expected at least 0, found "
                            + numLayers
                            + " and "
                            + numSingleLayers);
        }
        int sum = 0;
        for (int dim : axesDims) {
            if (dim < 2 || dim % 2 != 0) {
                throw new IllegalArgumentException("axes_dims_rope: expected even numbers, found " + axesDims);
            }
            sum += dim;
        }
        if (sum != headDim) {
            throw new IllegalArgumentException(
                    "axes_dims_rope: expected numbers that sum to attention_head_dim "
                            + headDim
                            + ", found "
                            + axesDims);
        }
    }

    private static void positive(String field, int value) {
        if (value < 1) {
            throw new IllegalArgumentException(field + ": expected at least 1, found " + value);
        }
    }

    /// Features of one token inside the transformer.
    public int innerDim() {
        return Math.multiplyExact(heads, headDim);
    }

    /// Features inside the feed-forward blocks.
    public int mlpDim() {
        return Math.multiplyExact(MLP_RATIO, innerDim());
    }

    /// The same shape with an input of another width.
    public FluxConfig withInChannels(int channels) {
        return new FluxConfig(
                channels,
                outChannels,
                numLayers,
                numSingleLayers,
                headDim,
                heads,
                jointAttentionDim,
                pooledProjectionDim,
                guidanceEmbeds,
                axesDims);
    }
}
