import ArgumentParser
import Formats
import Foundation
import SuperResolution

/// Opens what enlarges pictures: a model file, or `bicubic`.
enum UpscalerArgument {
  static let bicubic = "bicubic"

  /// - Parameter name: what reports call it.
  static func open(_ path: String, name: String, root: String?, common: CommonOptions) throws
    -> any Upscaler
  {
    throw SuperResolutionError("networks cannot be run yet", path: path)
  }

  /// The file's name without extension: `swinir_light_x2`.
  static func name(of path: String) -> String {
    ((path as NSString).lastPathComponent as NSString).deletingPathExtension
  }
}
