import Formats
import Testing

@testable import Inspect
@testable import Storage

@Suite struct ConvolutionGroupsTests {
  private func groups(
    of name: String, in shapes: [(String, [Int])], given: [(String, Int)] = []
  ) throws -> ConvolutionGroups.Decision? {
    var archive = TensorArchive()
    for (name, dimensions) in shapes {
      archive.tensors[name] = try Tensor(
        elementType: .float32, shape: #require(Shape(dimensions))
      ) { SharedBytes() }
    }
    let patterns = try given.map { (glob: try NameGlob($0.0), count: $0.1) }
    return try ConvolutionGroups(archive, given: patterns)
      .decision(on: name, #require(archive.tensors[name]))
  }

  private static let assumed =
    "assumed depthwise because each kernel has one input channel"

  @Test(
    arguments: [
      // A kernel on its own, and one in a network for colour images.
      ("dw", [("dw", [16, 1, 3, 3])], 16, "16 groups, \(assumed)"),
      (
        "a.dw.weight",
        [
          ("a.dw.weight", [32, 1, 3, 3]), ("a.pw.weight", [32, 32, 1, 1]),
          ("conv_first.weight", [32, 3, 3, 3]),
        ], 32, "32 groups, \(assumed)"
      ),
      // The first layer of a network for grey images, known by its name or by the network's output.
      (
        "conv_first.weight",
        [("conv_first.weight", [64, 1, 3, 3]), ("body.weight", [64, 64, 3, 3])], 1,
        "its one input channel assumed to be the network's input"
      ),
      (
        "0.weight",
        [
          ("0.weight", [64, 1, 3, 3]), ("1.weight", [64, 64, 3, 3]), ("2.weight", [4, 64, 3, 3]),
        ], 1,
        "its one input channel assumed to be the network's input"
      ),
      // After the first layer, kernels of one channel are depthwise.
      (
        "1.weight",
        [("0.weight", [64, 1, 3, 3]), ("1.weight", [64, 1, 3, 3]), ("2.weight", [1, 64, 3, 3])], 64,
        "64 groups, \(assumed)"
      ),
      ("body", [("first", [64, 3, 3, 3]), ("body", [64, 64, 3, 3])], 1, nil),
      (
        "grouped", [("first", [64, 3, 3, 3]), ("grouped", [64, 8, 3, 3])], 1,
        "one group assumed, although no layer has its 8 input channels as outputs"
      ),
      ("linear", [("linear", [8, 8])], nil, nil),
    ] as [(String, [(String, [Int])], Int?, String?)])
  func kernelsWithOneInputChannelAreDepthwise(
    _ name: String, _ shapes: [(String, [Int])], _ count: Int?, _ remark: String?
  ) throws {
    let decision = try groups(of: name, in: shapes)
    #expect(decision?.count == count)
    #expect(decision?.remark == remark)
  }

  @Test func givenGroupsTakePrecedence() throws {
    let shapes = [("a", [12, 1, 3, 3]), ("b", [12, 2, 3, 3])]
    #expect(try groups(of: "a", in: shapes, given: [("a", 1)])?.count == 1)
    let given = try groups(of: "b", in: shapes, given: [("a", 4), ("*", 6)])
    #expect(given?.count == 6)
    #expect(given?.remark == "6 groups, as given")
    #expect(throws: ModelError.self) { try groups(of: "b", in: shapes, given: [("b", 5)]) }
    #expect(throws: ModelError.self) { try groups(of: "b", in: shapes, given: [("c", 2)]) }
  }
}
