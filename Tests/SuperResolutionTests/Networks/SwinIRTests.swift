import Formats
import TestSupport
import Testing

@testable import Storage
@testable import SuperResolution

@Suite struct SwinIRTests {
  @Test(arguments: [
    ("direct_x2", 2), ("direct_x3_grey", 3), ("shuffle_x4", 4), ("shuffle_x3", 3),
    ("shuffle_x8", 8), ("nearest_x4", 4), ("nearest_x2", 2), ("denoise_grey", 1),
    ("jpeg_colour", 1), ("positions", 1),
  ])
  func swinIRMatchesPyTorch(name: String, scale: Int) throws {
    let fixture = try NetworkFixture("swinir_\(name)")
    let network = try fixture.network()
    let input = try fixture.input()
    #expect(network.scale == scale)
    #expect(network.channelCount == input.channelCount)
    let (output, groups) = try network.runWithGroups(input)
    #expect(largestDifference(output, try fixture.output()) <= 1e-4)
    for (found, expected) in zip(groups, try fixture.groups()) {
      #expect(largestDifference(found, expected) <= 1e-4)
    }
  }

  @Test func fixtureHasTwoGroups() throws {
    #expect(try NetworkFixture("swinir_direct_x2").groups().count == 2)
  }

  @Test func configurationIsInferredFromTensors() throws {
    let fixture = try NetworkFixture("swinir_shuffle_x4")
    let configuration = try SwinIRConfiguration(WeightReader(fixture.weights))
    #expect(configuration.channels == 12)
    #expect(configuration.depths == [2, 2])
    #expect(configuration.heads == [2, 2])
    #expect(configuration.hidden == 24)
    #expect(configuration.window == 4)
    #expect(configuration.upsampler == .pixelShuffle)
  }

  @Test func exampleNetworkMatchesPyTorch() throws {
    let archive = try FormatRegistry.standard.open(
      PackageFolder.root.appending(path: "Examples/swinir_light_x2.pth").path)
    let weights = try archive.conventionalRoot.map { try archive.selecting(root: $0) } ?? archive
    let network = try SuperResolutionNetwork(weights, name: "SwinIR-light", threads: 2)
    #expect(
      network.summary
        == "SwinIR ×2, pixelshuffledirect, 60 channels, 24 layers in 4 groups, windows of 8")
    let fixture = try NetworkFixture("swinir_example")
    let output = try network.upscale(fixture.input(), progress: nil)
    #expect(largestDifference(output, try fixture.output()) <= 1e-4)
  }

  @Test(SharedData.require("golden/swinir_light_x2_forward.npz"))
  func residualGroupsMatchReference() throws {
    let goldens = try FormatRegistry.standard.open(
      SharedData.path("golden/swinir_light_x2_forward.npz"))
    let archive = try FormatRegistry.standard.open(
      SharedData.path("weights/swinir_light_x2.pth"))
    let weights = try archive.conventionalRoot.map { try archive.selecting(root: $0) } ?? archive
    let network = try SuperResolutionNetwork(weights, name: "SwinIR-light", threads: 2)
    let (output, groups) = try network.runWithGroups(goldens.image("input"))
    #expect(groups.count == 4)
    for (index, found) in groups.enumerated() {
      let expected = try #require(goldens.tensors["layer\(index)"]).floatValues()
      #expect(largestDifference(found, expected) <= 1e-4, "group \(index)")
    }
    #expect(largestDifference(output, try goldens.image("output")) <= 1e-4)
  }

  /// The original code registers a mask exactly in the layers that shift their windows.
  @Test(
    arguments: [
      (
        "unshifted", [false, false, false, false],
        "no layer shifts its windows: the whole state dictionary has no mask (attn_mask), as of a network "
          + "trained on images no larger than a window"
      ),
      (
        "partly_shifted", [false, false, false, true],
        "1 of 4 layers shift their windows, as the checkpoint's masks (attn_mask) say"
      ),
      ("direct_x2", [false, true, false, true], nil),
    ] as [(String, [Bool], String?)])
  func layersWithoutMaskDoNotShift(_ name: String, _ shifts: [Bool], _ remark: String?) throws {
    let fixture = try NetworkFixture("swinir_\(name)")
    var weights = fixture.weights
    weights.stateDictionaries = [""]
    let network = try SuperResolutionNetwork(weights, name: name, threads: 2)
    #expect(Self.shifts(of: network) == shifts)
    #expect(network.remarks == (remark.map { [$0] } ?? []))
    let output = try network.upscale(fixture.input(), progress: nil)
    #expect(largestDifference(output, try fixture.output()) <= 1e-4)
  }

  /// Returns whether each layer shifts its windows.
  private static func shifts(of network: SuperResolutionNetwork) -> [Bool] {
    network.architecture.graph.nodes.compactMap { node in
      guard case .windowAttention(let shape, _) = node.operation else { return nil }
      return shape.shiftDown > 0 && shape.shiftRight > 0
    }
  }

  /// Layers shift as in published networks if there is no mask at all and buffers may have been
  /// left out.
  @Test func layersShiftByDefaultWithoutMasks() throws {
    let network = try NetworkFixture("swinir_shuffle_x4").network()
    #expect(Self.shifts(of: network) == [false, true, false, true])
    #expect(
      network.remarks == [
        "the checkpoint has no masks (attn_mask), so every other layer is taken to shift its windows, as "
          + "in the published networks"
      ])
  }

  @Test func imageSmallerThanPaddingIsRefused() throws {
    let network = try NetworkFixture("swinir_denoise_grey").network()
    #expect(
      throws: ModelError(
        "the image has 9 × 4 pixels, of which the network needs at least 5 × 5")
    ) { try network.upscale(noise(channelCount: 1, height: 4, width: 9, seed: 1), progress: nil) }
    let smallest = noise(channelCount: 1, height: 5, width: 9, seed: 1)
    #expect(try network.upscale(smallest, progress: nil).height == 5)
  }

  @Test func positionEmbeddingFitsOneSize() throws {
    let network = try NetworkFixture("swinir_positions").network()
    #expect(
      throws: ModelError(
        "the image has 320 pixels with its padding, the network's position embedding is for 256")
    ) { try network.upscale(noise(height: 16, width: 17, seed: 1), progress: nil) }
  }
}
