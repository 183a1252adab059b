import Formats
import Imaging
import SuperResolution

/// A model that can be run on samples and exposes the activations of its layers.
package protocol ActivationSource: Sendable {
  /// The sites that can be observed, in the order of the forward pass.
  var sites: [ActivationSite] { get }
  /// The number of samples, which `run` counts from 0.
  var sampleCount: Int { get }

  /// Runs the full-precision model on one sample.
  ///
  /// - Parameter observe: called with an index in `sites`, rows of values and the length of a row:
  ///   `columnCount` or, if that is 1, the number of values that the model quantizes as one row,
  ///   such as a query's attention weights. It is called one or more times per site, on the calling
  ///   thread, always in the same order.
  func run(
    sample: Int,
    observe: (_ site: Int, _ values: UnsafeBufferPointer<Float>, _ columns: Int) throws -> Void
  ) throws
}

/// A network's activations on given images, for calibration.
///
/// The network runs in full precision: with its own weights, but without activation quantizers.
package struct NetworkActivations: ActivationSource {
  /// The network.
  package let network: SuperResolutionNetwork
  /// The images on which the network runs, one after the other.
  package let images: [Image]

  /// Creates a source whose samples are the activations on `images`, one sample per image.
  ///
  /// - Throws: `ModelError` when an image and the network have different numbers of channels.
  package init(network: SuperResolutionNetwork, images: [Image]) throws {
    for image in images { try network.check(image) }
    self.network = network
    self.images = images
  }

  /// The sites at which the network can be observed, in the order of the forward pass.
  package var sites: [ActivationSite] { network.sites }
  /// The number of images.
  package var sampleCount: Int { images.count }

  package func run(
    sample: Int,
    observe: (_ site: Int, _ values: UnsafeBufferPointer<Float>, _ columns: Int) throws -> Void
  ) throws {
    try network.observe(images[sample], with: observe)
  }
}
