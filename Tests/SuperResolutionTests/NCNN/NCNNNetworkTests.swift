import Formats
import Foundation
import TestSupport
import Testing

@testable import Storage
@testable import SuperResolution

/// Networks that are read from ncnn's descriptions, and written as such. `GraphNetworkTests` compares those
/// of fixtures with what ncnn makes of them.
@Suite struct NCNNNetworkTests {
  /// A description of a convolution from 3 to 3 channels, after other layers, and before some.
  private func archive(
    _ before: [String] = [], blob: String = "data", _ after: [String] = []
  ) throws -> TensorArchive {
    let layers =
      ["Input image 0 1 data"] + before + ["Convolution conv 1 1 \(blob) out 0=3 1=1 6=9"] + after
    let text = (["7767517", "\(layers.count) 99"] + layers + [""]).joined(separator: "\n")
    let identity: [Float] = [1, 0, 0, 0, 1, 0, 0, 0, 1]
    return TensorArchive(
      tensors: [
        "conv.weight": try Tensor(
          elementType: .float32, shape: [3, 3, 1, 1], bytes: SharedBytes(elementsOf: identity))
      ], values: [NCNNFormat.descriptionKey: .text(text)])
  }

  private func network(_ archive: TensorArchive) throws -> SuperResolutionNetwork {
    try SuperResolutionNetwork(archive, name: "net", threads: 1)
  }

  @Test func networkWithoutWeightsButOneRuns() throws {
    let network = try network(archive([], ["Interp big 1 1 out large 0=1 1=2.0 2=2.0"]))
    #expect(network.summary == "ncnn ×2, 1 convolution")
    let image = noise(channelCount: 3, height: 5, width: 4, seed: 1)
    let large = try network.upscale(image, progress: nil)
    #expect(large.height == 10 && large.width == 8)
    #expect(abs(large.samples[0] - image.samples[0]) < 1e-6)
  }

  @Test(arguments: [
    (["Softmax s 1 1 out end"], "the ncnn layer 's' of the type Softmax cannot be run"),
    (
      ["Pooling p 1 1 out end 0=0 1=2 2=2"],
      "the ncnn layer 'p' of the type Pooling with incomplete squares cannot be run"
    ),
    (
      ["Interp i 1 1 out end 0=2 1=1.3 2=1.3"],
      "the ncnn layer 'i' of the type Interp with the kind 2 and the factor 1.3 cannot be run"
    ),
    (
      ["Interp i 1 1 out end 0=1 1=2.0 2=3.0"],
      "the ncnn layer 'i' of the type Interp with the factor 2.0 cannot be run"
    ),
    (
      ["BinaryOp b 1 1 out end 0=6 1=1 2=2.0"],
      "the ncnn layer 'b' of the type BinaryOp with the operation 6 cannot be run"
    ),
    (
      ["Concat c 0 1 end"],
      "the ncnn layer 'c' of the type Concat with 0 inputs cannot be run"
    ),
    (
      ["BinaryOp b 1 1 out end"],
      "the ncnn layer 'b' of the type BinaryOp with 1 input cannot be run"
    ),
    (
      ["GroupNorm g 1 1 out end 0=0 1=3"],
      "the ncnn layer 'g' of the type GroupNorm with 0 groups cannot be run"
    ),
    (
      ["Padding p 1 1 out end 0=5000 1=5000"],
      "the ncnn layer 'p' of the type Padding with padding by 5000 pixels cannot be run"
    ),
    (
      ["Crop c 1 1 out end -23309=2,9,9 -23310=2,4,4 -23311=2,1,2"],
      "the ncnn layer 'c' of the type Crop with the end 4 cannot be run"
    ),
    (
      ["Reorg r 1 1 out end 0=0"],
      "the ncnn layer 'r' of the type Reorg with the factor 0 cannot be run"
    ),
    (["Split s 1 2 out a b"], "the network has 2 results, not one"),
    (["Input i 0 1 other"], "the network has 2 inputs, not one"),
    (
      ["Pooling p 1 1 out end 0=1 4=1"],
      "no whole factor, with margins, makes the sizes of the results: 1 for 256, 1 for 257, 1 for 258"
    ),
    (
      ["Split s 1 2 out a b", "Interp i 1 1 a c 0=1 1=2.0 2=2.0", "Concat j 2 1 b c end"],
      "no whole factor, with margins, makes the sizes of the results: the layers' do not fit one another"
    ),
    (
      ["Interp i 1 1 out a 0=3 1=0.5 2=0.5", "Interp j 1 1 a end 0=1 1=1.0 2=1.0"],
      "no whole factor, with margins, makes the sizes of the results: 128 for 256, 129 for 258, "
        + "130 for 260"
    ),
    (
      ["Crop c 1 1 out end -23309=1,0 -23310=1,2 -23311=1,0"],
      "the network makes 2 channels of 3, which is no image of an image"
    ),
  ])
  func whatCannotRunIsNamed(layers: [String], problem: String) throws {
    #expect(throws: ModelError.unsupported(problem)) {
      try network(archive([], layers))
    }
  }

  /// Sizes and channels whose product is more than any number.
  @Test func hugeResultsAreRefused() throws {
    let large = (1...14).map { "Interp i\($0) 1 1 b\($0 - 1) b\($0) 0=1 1=64.0 2=64.0" }
    #expect(throws: ModelError.self) {
      try network(
        archive([], ["Noop n 1 1 out b0"] + large + ["Noop m 1 1 b14 end"]))
    }
    let deep = (1...14).map { "Reorg r\($0) 1 1 b\($0 - 1) b\($0) 0=16" }
    #expect(
      throws: ModelError.unsupported(
        "the ncnn layer 'r3' of the type Reorg with 50331648 channels cannot be run")
    ) { try network(archive([], ["Noop n 1 1 out b0"] + deep)) }
  }

  @Test func weightsThatDoNotFitAreNamed() throws {
    var weights = try NetworkFixture("ncnn_span_x2").weights
    #expect(weights.tensors.removeValue(forKey: "layer_4.bias") != nil)
    #expect(
      throws: ModelError(
        "not a network that can be run: the closest is ncnn, but the tensor 'layer_4.bias' is missing"
      ).offering(.networks)
    ) { try network(weights) }
  }

  // MARK: Written networks

  /// Those that ncnn has layers for.
  static let written = [
    "rrdb_old_x4", "rrdb_plus_x2", "compact_x2", "compact_x3_grey", "span_x4", "span_merged_x4",
    "edsr_x4", "edsr_x3", "rcan_x2", "rcan_x3_unshifted", "rlfn_x2", "realplksr_x4",
    "realplksr_layer_norm_x2", "mosr_shuffle_x4", "mosr_ensemble_x2", "ncnn_cunet_x2",
    "ncnn_gated_x3", "ncnn_span_x2", "ncnn_compact_x3", "ncnn_norms_x1",
  ]

  /// `make interop` compares what ncnn makes of them.
  @Test(arguments: written)
  func writtenNetworkIsReadAsSame(name: String) throws {
    let fixture = try NetworkFixture(name)
    let export = try NetworkExport(
      fixture.network(), of: fixture.weights, to: .ncnn(.float32))
    try withTemporaryFolder { folder in
      let outcome = try export.write(to: folder.appending("net.param"))
      #expect(outcome.files.map(\.path.lastPathComponent) == ["net.param", "net.bin"])
      #expect(outcome.tensors.allSatisfy { $0.fidelity == .exact })
      let read = try FormatRegistry.standard.open(folder.appending("net.param"))
      let image = try fixture.input()
      let result = try network(read).upscale(image, progress: nil)
      #expect(try largestDifference(result, fixture.output()) < 1e-4)
    }
  }

  @Test func halfPrecisionIsStoredAndReported() throws {
    let fixture = try NetworkFixture("rlfn_x2")
    func outcome(_ precision: NCNNPrecision, _ folder: TemporaryFolder) throws -> ExportOutcome {
      try NetworkExport(fixture.network(), of: fixture.weights, to: .ncnn(precision))
        .write(to: folder.appending("\(precision).param"))
    }
    try withTemporaryFolder { folder in
      let (whole, half) = try (outcome(.float32, folder), outcome(.float16, folder))
      #expect(half.files[1].byteCount < whole.files[1].byteCount * 6 / 10)
      let read = try FormatRegistry.standard.open(folder.appending("float16.param"))
      for tensor in half.tensors where tensor.shape.count == 4 {
        #expect(tensor.form == "float16")
        let before = try #require(fixture.weights.tensors[tensor.name]).floatValues()
        let after = try #require(read.tensors[tensor.name]).floatValues()
        let error = zip(before, after).reduce(0.0) { max($0, abs(Double($1.0) - Double($1.1))) }
        #expect(tensor.largestError == error)
      }
    }
  }

  @Test func whatNCNNLacksIsRefused() throws {
    func problem(_ name: String, _ precision: NCNNPrecision = .float32) throws -> String {
      let fixture = try NetworkFixture(name)
      let error = #expect(throws: ModelError.self) {
        try NetworkExport(fixture.network(), of: fixture.weights, to: .ncnn(precision))
      }
      return error.map { "\($0)" } ?? ""
    }
    #expect(
      try problem("swinir_direct_x2") == "attention of this network cannot be written for ncnn")
    #expect(
      try problem("mosr_dysample_x2")
        == "dynamic upsampling of this network cannot be written for ncnn")
    #expect(
      try problem("safmn_x2").hasPrefix("pooling to a grid in this network depends on the size"))
    #expect(
      try problem("rlfn_x2", .int8)
        == "int8 needs ranges of activations, which a file has that 'convert --calibration-images' "
        + "packed")
    var fixture = try NetworkFixture("rlfn_x2").weights
    let name = try #require(fixture.tensors.keys.first { $0.hasSuffix(".weight") })
    let shape = try #require(fixture.tensors[name]).shape
    fixture.tensors[name] = try Tensor(
      elementType: .float32, shape: shape,
      bytes: SharedBytes(elementsOf: [Float](repeating: 1e6, count: shape.elementCount)))
    let export = try NetworkExport(network(fixture), of: fixture, to: .ncnn(.float16))
    try withTemporaryFolder { folder in
      #expect(throws: ModelError.self) { try export.write(to: folder.appending("net.param")) }
      let names = try folder.names()
      #expect(names.isEmpty)
    }
  }
}
