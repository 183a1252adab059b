import ArgumentParser
import Formats
import Glibc
import Storage
import SuperResolution

/// Opens an upscaler: a model file, or `bicubic`.
enum UpscalerArgument {
  static let bicubic = "bicubic"

  /// The network of a checkpoint's or packed file's weights, and the bytes that the model takes on disk.
  ///
  /// - Parameters:
  ///   - name: what reports call it.
  ///   - root: the part of a nested checkpoint.
  ///   - usesIntegers: whether quantized layers are multiplied as whole numbers.
  static func open(
    _ path: String, name: String, root: String?, usesIntegers: Bool = true, common: CommonOptions
  ) throws -> (network: SuperResolutionNetwork, fileByteCount: Int) {
    let archive = try ModelArgument.open(path, root: root, common: common)
    let byteCount = try archive.sourceByteCount()
    func load(_ root: String?) throws -> SuperResolutionNetwork {
      try SuperResolutionNetwork(
        try root.map(archive.selecting) ?? archive, name: name, threads: common.threads,
        usesIntegers: usesIntegers)
    }
    return try locatingErrors(path: path) {
      let (network, part) = try firstThatRuns(archive, load: load)
      for remark in network.remarks { Console.note("\(path): \(remark)", unless: common.quiet) }
      if let part { _ = try ModelArgument.select(part, of: archive, path: path, common: common) }
      return (network, byteCount)
    }
  }

  /// The network to take, or the only other one of the file that can be run, with its root.
  ///
  /// - Throws: what is wrong with the network to take, with the roots of others where there are any.
  private static func firstThatRuns(
    _ archive: TensorArchive, load: (String?) throws -> SuperResolutionNetwork
  ) throws -> (network: SuperResolutionNetwork, root: String?) {
    let roots = archive.networks.map(\.root)
    var failure: ModelError?
    var running: [(network: SuperResolutionNetwork, root: String?)] = []
    for (index, root) in roots.enumerated() {
      do {
        running.append((try load(root), root))
        if index == 0 { break }
      } catch let error as ModelError where error.isUnsuitable {
        failure = failure ?? error
      }
    }
    if running.count == 1 { return running[0] }
    guard running.isEmpty, let failure else {
      let names = running.compactMap(\.root).map { "'\($0)'" }.joined(separator: " and ")
      throw ModelError("the file holds several networks; --root takes one: \(names)")
    }
    guard let others = ModelArgument.networkList(of: archive, besides: roots[0]) else {
      throw failure
    }
    throw ModelError("\(failure.problem); --root takes another network: \(others)")
  }

  /// The file's name without extension: `swinir_light_x2`.
  static func name(of path: String) -> String { path.pathStem }
}
