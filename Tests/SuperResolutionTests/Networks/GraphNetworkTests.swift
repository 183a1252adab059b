import Formats
import Foundation
import TestSupport
import Testing

@testable import Storage
@testable import SuperResolution
@testable import Transform

/// Networks that are described as graphs, beside the results of PyTorch, and of ncnn for its own.
@Suite struct GraphNetworkTests {
  /// Small networks, by the name of their fixture, and what their summary begins with.
  static let networks = [
    ("rrdb_old_x4", "RRDBNet ×4, 6 channels, 2 blocks"), ("rrdb_new_x4", "RRDBNet ×4"),
    ("rrdb_middle_x2", "RRDBNet ×2"), ("rrdb_old_x1", "RRDBNet ×1"),
    ("rrdb_old_x8", "RRDBNet ×8"), ("rrdb_plus_x2", "RRDBNet ×2"),
    ("rrdb_x2_unshuffle", "RRDBNet ×2, 6 channels, 1 block, pixels in squares of 2"),
    ("rrdb_x1_unshuffle", "RRDBNet ×1, 6 channels, 1 block, pixels in squares of 4"),
    ("compact_x4", "SRVGGNetCompact ×4, 12 channels, 5 convolutions"),
    ("compact_x2", "SRVGGNetCompact ×2"), ("compact_x3_grey", "SRVGGNetCompact ×3"),
    ("compact_x1_small", "SRVGGNetCompact ×1"),
    ("span_x4", "SPAN ×4, 4 channels, 6 blocks"), ("span_x2", "SPAN ×2"),
    ("span_no_norm_x2", "SPAN ×2"), ("span_merged_x4", "SPAN ×4"),
    ("edsr_x4", "EDSR ×4, 8 channels, 2 blocks"), ("edsr_x3", "EDSR ×3"),
    ("edsr_x2_unshifted", "EDSR ×2"),
    ("rcan_x2", "RCAN ×2, 8 channels, 4 blocks in 2 groups"), ("rcan_x4", "RCAN ×4"),
    ("rcan_x3_unshifted", "RCAN ×3"), ("rcan_x2_unshuffle", "RCAN ×2"),
    ("rcan_x1_unshuffle", "RCAN ×1"),
    ("rlfn_x4", "RLFN ×4, 8 channels, 4 blocks"), ("rlfn_x2", "RLFN ×2"),
    ("realplksr_x4", "RealPLKSR ×4, 8 channels, 2 blocks"),
    ("realplksr_layer_norm_x2", "RealPLKSR ×2"),
    ("realplksr_dysample_x4", "RealPLKSR ×4, 8 channels, 1 block, dynamic upsampling"),
    ("realplksr_dysample_x3", "RealPLKSR ×3"), ("realplksr_dysample_x1", "RealPLKSR ×1"),
    ("safmn_x4", "SAFMN ×4, 8 channels, 2 blocks"), ("safmn_x2", "SAFMN ×2"),
    ("safmn_deep_x4", "SAFMN ×4, 12 channels, 3 blocks, normalized over the image"),
    ("mosr_shuffle_x4", "MoSR ×4, 8 channels, 2 blocks, pixel shuffle"),
    ("mosr_ensemble_x2", "MoSR ×2, 8 channels, 1 block, mean of 8 images"),
    ("mosr_dysample_x2", "MoSR ×2, 8 channels, 1 block, dynamic upsampling"),
    ("omnisr_x4", "OmniSR ×4, 8 channels, 1 block in 1 group, windows of 4"),
    ("omnisr_x2", "OmniSR ×2, 8 channels, 2 blocks in 2 groups, windows of 8"),
    ("hat_x2", "HAT ×2, 12 channels, 2 blocks in 1 group, windows of 4 and 6"),
    ("hat_x3", "HAT ×3"),
    ("dat_direct_x2", "DAT ×2, 32 channels, 4 blocks in 2 groups, windows of 2 × 4"),
    ("dat_shuffle_x3", "DAT ×3"), ("dat_shuffle_x2_tall", "DAT ×2"),
    ("dat_counted_x2", "DAT ×2, 16 channels, 5 blocks in 2 groups, windows of 2 × 4"),
    ("dat_counted_x3", "DAT ×3, 24 channels, 5 blocks in 2 groups, windows of 6 × 3"),
    (
      "swin2sr_direct_x2",
      "Swin2SR ×2, pixelshuffledirect, 8 channels, 3 layers in 2 groups, windows of 4"
    ),
    (
      "swin2sr_shuffle_x3",
      "Swin2SR ×3, pixelshuffle, 8 channels, 2 layers in 1 group, windows of 5, no layer shifts"
    ), ("swin2sr_nearest_x4", "Swin2SR ×4, nearest+conv"),
    ("swin2sr_aux_x2", "Swin2SR ×2, pixelshuffle_aux"), ("swin2sr_jpeg_grey", "Swin2SR ×1, none"),
    ("hitsrf_x2", "HiT-SR ×2, variant SRF, 16 channels, 3 blocks in 1 group"),
    ("hitsrf_x3", "HiT-SR ×3"), ("hitsir_x4", "HiT-SR ×4, variant SIR, 16 channels, 2 blocks"),
    ("ngswin_x2", "NGswin ×2, 16 channels, 5 blocks, windows of 2"), ("ngswin_x4", "NGswin ×4"),
    ("drct_x2", "DRCT ×2, 8 channels, 5 layers in 1 group, windows of 4"),
    ("drct_x4", "DRCT ×4, 6 channels, 10 layers in 2 groups, windows of 3, no layer shifts"),
    ("ncnn_cunet_x2", "ncnn ×2, 8 convolutions"), ("ncnn_gated_x3", "ncnn ×3"),
    ("ncnn_span_x2", "ncnn ×2"), ("ncnn_compact_x3", "ncnn ×3"), ("ncnn_norms_x1", "ncnn ×1"),
  ]

  /// The greatest difference that counts as none, as a share of the range of the output.
  private static let tolerance: Float = 1e-5

  /// Returns the largest difference from the golden output as a share of its range.
  private func difference(_ fixture: NetworkFixture, of weights: TensorArchive) throws -> Float {
    let network = try SuperResolutionNetwork(weights, name: "test", threads: 2)
    let output = try network.upscale(fixture.input(), progress: nil)
    let expected = try fixture.output()
    guard output.samples.count == expected.samples.count, let least = expected.samples.min(),
      let largest = expected.samples.max()
    else { return .infinity }
    let differences = zip(output.samples, expected.samples).map { abs($0 - $1) }
    return differences.contains(where: \.isNaN)
      ? .infinity : (differences.max() ?? .infinity) / (largest - least)
  }

  @Test(arguments: networks)
  func outputIsThatOfPyTorch(name: String, summary: String) throws {
    let fixture = try NetworkFixture(name)
    #expect(try fixture.network().summary.hasPrefix(summary))
    #expect(try difference(fixture, of: fixture.weights) <= Self.tolerance)
  }

  /// A golden that cannot see a tensor would prove nothing. At one vector level this says it of all.
  @Test(
    .enabled(
      if: ProcessInfo.processInfo.environment["CONDI_VECTOR_LEVEL"] == nil,
      "checked at the processor's own vector level"),
    // In these, features of relative positions are single ones, of which a normalization leaves nothing.
    arguments: networks.map(\.0).filter {
      !["dat_direct_x2", "dat_shuffle_x3", "dat_shuffle_x2_tall"].contains($0)
    })
  func everyTensorCounts(name: String) throws {
    let fixture = try NetworkFixture(name)
    for (tensor, weight) in fixture.weights.tensors {
      // What networks make again from other tensors, and a mark.
      if tensor.contains("eval_conv"), name != "span_merged_x4" { continue }
      let last = tensor.split(separator: ".").last ?? ""
      if tensor == "no_norm" || last.hasPrefix("relative_position_index")
        || last.hasPrefix("attn_mask")
      {
        continue
      }
      // What is the same for all keys, which softmax takes away; and the list of positions itself.
      if tensor.hasSuffix("pos.pos3.2.bias"), name.hasPrefix("dat_") { continue }
      if last == "rpe_biases" { continue }
      // Places within a pixel that is its only one.
      if name == "realplksr_dysample_x1", tensor == "to_img.init_pos" { continue }
      var weights = fixture.weights
      weights.tensors[tensor] = try Tensor(
        elementType: weight.elementType, shape: weight.shape,
        bytes: SharedBytes([UInt8](repeating: 0, count: weight.byteCount)))
      #expect(try difference(fixture, of: weights) >= 10 * 1e-4, "\(tensor)")
    }
  }

  @Test(arguments: networks.map(\.0), [ElementType.float16, .bfloat16])
  func narrowWeightsRun(name: String, type: ElementType) throws {
    let fixture = try NetworkFixture(name)
    var narrow = fixture.weights
    for (tensor, weight) in narrow.tensors where weight.elementType == .float32 {
      narrow.tensors[tensor] = try Tensor(
        elementType: type, shape: weight.shape, bytes: type.bytes(of: weight.doubleValues()))
    }
    // What is left of the weights is 8 or 11 bits.
    #expect(try difference(fixture, of: narrow) < (type == .float16 ? 0.02 : 0.2))
  }

  @Test(arguments: networks.map(\.0))
  func resultsDoNotDependOnThreads(name: String) throws {
    let fixture = try NetworkFixture(name)
    let channels = try fixture.input().channelCount
    // Wide enough for several bands of rows.
    let image = noise(channelCount: channels, height: 20, width: 150, seed: 5)
    let expected = try fixture.network(threads: 1).upscale(image, progress: nil)
    #expect(try fixture.network(threads: 3).upscale(image, progress: nil) == expected)
  }

  @Test(arguments: [
    "rrdb_new_x4", "rrdb_x2_unshuffle", "compact_x4", "span_x2", "edsr_x3",
    "realplksr_layer_norm_x2",
  ])
  func exactTileOverlapGivesWholeResult(name: String) throws {
    var network = try NetworkFixture(name).network()
    let overlap = try #require(network.exactTileOverlap)
    let image = noise(height: 2 * overlap + 35, width: overlap + 21, seed: 9)
    let whole = try network.upscale(image, progress: nil)
    network.tiles = TileOptions(size: 16, overlap: overlap)
    #expect(largestDifference(try network.upscale(image, progress: nil), whole) <= 1e-5)
  }

  @Test(
    SharedData.require("weights"),
    arguments: [
      ("SPAN_x4_NTIRE2026_team00", "SPAN ×4, 28 channels, 6 blocks"),
      ("RLFN_x4_NTIRE2024_team00", "RLFN ×4, 46 channels, 4 blocks"),
      ("SAFMN_x4_NTIRE2026_team21", "SAFMN ×4, 40 channels, 15 blocks, normalized over the image"),
      ("HiT-SRF_x4_NTIRE2025_team54", "HiT-SR ×4, variant SRF, 60 channels, 24 blocks in 4 groups"),
      ("NGswin_x2", "NGswin ×2, 64 channels, 20 blocks, windows of 8"),
    ])
  func publishedWeightsGiveWhatPyTorchMakesOfThem(file: String, summary: String) throws {
    let archive = try FormatRegistry.standard.open(SharedData.path("weights/\(file).pth"))
    let weights = try archive.conventionalRoot.map { try archive.selecting(root: $0) } ?? archive
    #expect(
      try SuperResolutionNetwork(weights, name: "test", threads: 1).summary == summary)
    #expect(try difference(NetworkFixture("real_\(file)"), of: weights) <= Self.tolerance)
  }

  @Test(arguments: ["swin2sr_direct_x2", "hitsrf_x2", "ngswin_x2"])
  func everySiteIsObserved(name: String) throws {
    let fixture = try NetworkFixture(name)
    let network = try fixture.network()
    var seen: Set<Int> = []
    try network.observe(fixture.input(), at: Set(network.sites.indices)) { site, _, _ in
      seen.insert(site)
    }
    #expect(!seen.isEmpty && seen == Set(network.sites.indices))
    // NGswin applies some layers twice.
    #expect(Set(network.sites.map(\.name)).count == network.sites.count)
  }

  // MARK: Checkpoints that do not fit

  @Test func otherWindowsAndScalesAreRefused() throws {
    var weights = try NetworkFixture("hitsrf_x2").weights
    let cell = "correlation.spatial_linear.weight"
    weights.tensors["layers.0.residual_group.blocks.1.\(cell)"] =
      weights.tensors["layers.0.residual_group.blocks.2.\(cell)"]
    #expect(
      throws: Self.error(
        "HiT-SR", "layers.0.residual_group.blocks.1.\(cell)",
        "has the shape [1, 4], expected [1, 1]")
    ) { try SuperResolutionNetwork(weights, name: "test", threads: 1) }
    weights = try NetworkFixture("ngswin_x2").weights
    let last = try #require(weights.tensors["to_target.before_shuffle.weight"])
    weights.tensors["to_target.before_shuffle.weight"] = try Tensor(
      elementType: last.elementType, shape: #require(Shape([3, 64, 3, 3])),
      bytes: SharedBytes([UInt8](repeating: 0, count: last.byteCount)))
    #expect(
      throws: Self.error(
        "NGswin", "to_target.before_shuffle.weight", "is of scale ×1, expected ×2, ×3 or ×4")
    ) { try SuperResolutionNetwork(weights, name: "test", threads: 1) }
  }

  private static func error(_ closest: String, _ tensor: String, _ problem: String) -> ModelError {
    ModelError(
      "not a network that can be run: the closest is \(closest), but the tensor '\(tensor)' "
        + problem
    ).offering(.networks)
  }

  @Test(arguments: [
    ("rrdb_new_x4", "RRDBNet", "body.1.rdb2.conv3.weight"),
    ("rrdb_old_x4", "RRDBNet", "model.1.sub.2.weight"),
    ("compact_x4", "SRVGGNetCompact", "body.8.weight"),
    ("span_x4", "SPAN", "block_3.c2_r.conv.1.bias"), ("edsr_x4", "EDSR", "body.1.body.2.weight"),
    ("rcan_x2", "RCAN", "body.1.body.1.body.3.conv_du.2.weight"),
    ("rlfn_x4", "RLFN", "block_2.esa.conv_f.weight"),
    ("realplksr_x4", "RealPLKSR", "feats.2.lk.conv.weight"),
    ("safmn_x4", "SAFMN", "feats.1.safm.mfr.2.weight"),
    ("mosr_shuffle_x4", "MoSR", "gblocks.2.conv.weight"),
    ("omnisr_x4", "OmniSR", "residual_layer.0.residual_layer.0.layer.8.fn.to_out.0.weight"),
    ("hat_x2", "HAT", "layers.0.residual_group.overlap_attn.proj.weight"),
    ("swin2sr_direct_x2", "Swin2SR", "layers.1.residual_group.blocks.0.attn.cpb_mlp.2.weight"),
    ("drct_x2", "DRCT", "layers.0.adjust3.weight"),
    ("hitsrf_x2", "HiT-SR", "layers.0.residual_group.blocks.2.correlation.spatial_linear.bias"),
    (
      "ngswin_x2", "NGswin",
      "encoder_layer2.blocks.0.ngram_window_partition.ngram_context.merge.weight"
    ),
  ])
  func missingTensorIsNamed(name: String, closest: String, tensor: String) throws {
    var weights = try NetworkFixture(name).weights
    #expect(weights.tensors.removeValue(forKey: tensor) != nil)
    #expect(throws: Self.error(closest, tensor, "is missing")) {
      try SuperResolutionNetwork(weights, name: "test", threads: 1)
    }
  }

  @Test func misshapenAndSurplusTensorsAreNamed() throws {
    var weights = try NetworkFixture("rrdb_new_x4").weights
    let bias = try #require(weights.tensors["conv_last.bias"])
    weights.tensors["body.1.rdb2.conv3.bias"] = bias
    #expect(
      throws: Self.error("RRDBNet", "body.1.rdb2.conv3.bias", "has the shape [3], expected [4]")
    ) { try SuperResolutionNetwork(weights, name: "test", threads: 1) }
    weights = try NetworkFixture("rlfn_x2").weights
    weights.tensors["block_1.esa.gate"] = bias
    #expect(throws: Self.error("RLFN", "block_1.esa.gate", "has no place in it")) {
      try SuperResolutionNetwork(weights, name: "test", threads: 1)
    }
  }

  /// A tensor of any other shape is refused, or makes another network that runs.
  @Test(
    .enabled(
      if: ProcessInfo.processInfo.environment["CONDI_VECTOR_LEVEL"] == nil,
      "checked at the processor's own vector level"),
    arguments: networks.map(\.0))
  func otherShapesDoNotCrash(name: String) throws {
    let fixture = try NetworkFixture(name)
    let image = try fixture.input()
    for (tensor, weight) in fixture.weights.tensors {
      let dimensions = weight.shape.dimensions
      for axis in dimensions.indices {
        for length in [dimensions[axis] + 1, 2 * dimensions[axis], dimensions[axis] / 2, 1] {
          var changed = dimensions
          changed[axis] = length
          guard length > 0, changed != dimensions, let shape = Shape(changed),
            let byteCount = weight.elementType.byteCount(forElements: shape.elementCount)
          else { continue }
          var weights = fixture.weights
          weights.tensors[tensor] = try Tensor(
            elementType: weight.elementType, shape: shape,
            bytes: SharedBytes([UInt8](repeating: 0, count: byteCount)))
          do {
            let network = try SuperResolutionNetwork(weights, name: "test", threads: 1)
            let output = try network.upscale(image, progress: nil)
            #expect(output.width == image.width * network.scale)
          } catch is ModelError {
            continue
          }
        }
      }
    }
  }

  @Test func imageWithTooFewPixelsIsRefused() throws {
    let network = try NetworkFixture("rlfn_x2").network()
    #expect(
      throws: ModelError(
        "the image has 40 × 9 pixels, of which the network needs at least 15 × 15")
    ) { try network.upscale(noise(height: 9, width: 40, seed: 1), progress: nil) }
    let unshuffling = try NetworkFixture("rrdb_x1_unshuffle").network()
    #expect(
      throws: ModelError("the image has 2 × 2 pixels, of which the network needs at least 3 × 3")
    ) { try unshuffling.upscale(noise(height: 2, width: 2, seed: 1), progress: nil) }
    let neighbourly = try NetworkFixture("ngswin_x2").network()
    #expect(
      throws: ModelError(
        "the image has 20 × 8 pixels, of which the network needs at least 9 × 9")
    ) { try neighbourly.upscale(noise(height: 8, width: 20, seed: 1), progress: nil) }
  }
}
