import Formats
import Synchronization
import TestSupport
import Testing
import Transform

@testable import Storage
@testable import SuperResolution

@Suite struct NetworkTests {
  @Test(arguments: ["swinir_shuffle_x4", "swinir_jpeg_colour", "dat_direct_x2", "dat_shuffle_x3"])
  func resultsDoNotDependOnThreads(name: String) throws {
    let fixture = try NetworkFixture(name)
    let image = noise(height: 45, width: 38, seed: 5)
    let expected = try fixture.network(threads: 1).upscale(image, progress: nil)
    for threads in [2, 3, 7] {
      #expect(try fixture.network(threads: threads).upscale(image, progress: nil) == expected)
    }
  }

  @Test(arguments: ["swinir_direct_x2", "dat_direct_x2"])
  func progressRisesToOne(name: String) throws {
    var network = try NetworkFixture(name).network()
    for tiles in [nil, TileOptions(size: 16, overlap: 4)] {
      network.tiles = tiles
      let reports = Mutex<[Double]>([])
      _ = try network.upscale(noise(height: 20, width: 33, seed: 6)) { share in
        reports.withLock { $0.append(share) }
      }
      let shares = reports.withLock { $0 }
      #expect(shares == shares.sorted())
      #expect(shares.count > 4 && shares.allSatisfy { $0 > 0 && $0 <= 1 + 1e-12 })
      #expect(abs((shares.last ?? 0) - 1) <= 1e-12)
    }
  }

  @Test func otherChannelCountIsRefused() throws {
    let network = try NetworkFixture("swinir_direct_x2").network()
    let grey = noise(channelCount: 1, height: 9, width: 9, seed: 7)
    let error = ModelError("the image has 1 channel, the network takes 3")
    #expect(throws: error) { try network.upscale(grey, progress: nil) }
    #expect(throws: error) { try NetworkActivations(network: network, images: [grey]) }
  }

  // MARK: Checkpoints without a network

  private static func error(_ closest: String, _ tensor: String, _ problem: String)
    -> ModelError
  {
    ModelError(
      "not a network that can be run: the closest is \(closest), but the tensor '\(tensor)' "
        + problem
    ).offering(.networks)
  }

  private func load(_ weights: TensorArchive) throws -> SuperResolutionNetwork {
    try SuperResolutionNetwork(weights, name: "test", threads: 1)
  }

  @Test(arguments: [
    ("swinir_direct_x2", "SwinIR", "layers.1.residual_group.blocks.1.mlp.fc2.weight"),
    ("swinir_nearest_x4", "SwinIR", "conv_hr.bias"),
    ("swinir_shuffle_x4", "SwinIR", "conv_after_body.2.weight"),
    ("dat_direct_x2", "DAT", "layers.0.blocks.1.attn.dwconv.1.running_var"),
    ("dat_shuffle_x3", "DAT", "norm.weight"),
  ])
  func firstMissingTensorIsNamed(name: String, closest: String, tensor: String) throws {
    var weights = try NetworkFixture(name).weights
    #expect(weights.tensors.removeValue(forKey: tensor) != nil)
    #expect(throws: Self.error(closest, tensor, "is missing")) { try load(weights) }
  }

  @Test func wrongShapeIsNamed() throws {
    var weights = try NetworkFixture("swinir_direct_x2").weights
    let name = "layers.1.residual_group.blocks.0.attn.proj.weight"
    weights.tensors[name] = weights.tensors["norm.weight"]
    #expect(throws: Self.error("SwinIR", name, "has the shape [12], expected [12, 12]")) {
      try load(weights)
    }
  }

  @Test func surplusTensorIsNamed() throws {
    var weights = try NetworkFixture("dat_shuffle_x3").weights
    weights.tensors["layers.0.blocks.0.attn.attns.0.gate"] = weights.tensors["norm.weight"]
    #expect(
      throws: Self.error("DAT", "layers.0.blocks.0.attn.attns.0.gate", "has no place in it")
    ) { try load(weights) }
  }

  @Test func headCountMustDivideChannels() throws {
    var weights = try NetworkFixture("swinir_direct_x2").weights
    let name = "layers.1.residual_group.blocks.0.attn.relative_position_bias_table"
    weights.tensors[name] = try Tensor(
      elementType: .float32, shape: [49, 5], bytes: SharedBytes([UInt8](repeating: 0, count: 980)))
    #expect(
      throws: Self.error("SwinIR", name, "has 5 heads, which do not divide 12 channels")
    ) { try load(weights) }
  }

  @Test func emptyArchiveIsRefused() {
    #expect(throws: Self.error("SwinIR", "conv_first.weight", "is missing")) {
      try load(TensorArchive())
    }
  }
}
