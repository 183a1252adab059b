import ArgumentParser
import Formats
import Foundation
import SuperResolution

/// Opens what enlarges pictures: a model file, or `bicubic`.
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
    let (archive, _) = try ModelArgument.openWeights(path, root: root, common: common)
    let byteCount = try archive.sourceByteCount()
    return try locatingPictureErrors(path: path) {
      let network = try SuperResolutionNetwork(
        archive, name: name, threads: common.threads, usesIntegers: usesIntegers)
      return (network, byteCount)
    }
  }

  /// The file's name without extension: `swinir_light_x2`.
  static func name(of path: String) -> String {
    ((path as NSString).lastPathComponent as NSString).deletingPathExtension
  }
}
