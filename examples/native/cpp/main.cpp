// Prints the class of each image in a file of floats, 32 x 32 x 3 of them an image, each 0 to 1.
//
//     cargo run --release --example native -- DIR
//     g++ -std=c++17 -O2 -IDIR examples/native/cpp/main.cpp DIR/resnet.a -pthread -o classify
//     ./classify DIR/images [THREADS]
#include "resnet.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <memory>
#include <new>
#include <thread>
#include <vector>

namespace {

struct Free {
    void operator()(std::byte *memory) const {
        ::operator delete[](memory, std::align_val_t{RESNET_WORKSPACE_ALIGNMENT});
    }
};

// Memory for as many runs as there are threads.
std::unique_ptr<std::byte[], Free> workspaces(std::size_t threads) {
    auto bytes = threads * RESNET_WORKSPACE_BYTES;
    return std::unique_ptr<std::byte[], Free>(new (std::align_val_t{RESNET_WORKSPACE_ALIGNMENT}) std::byte[bytes]);
}

// The callback of resnet_run_batch; `context` is the number of threads.
void parallel_for(void *context, std::size_t tasks, resnet_task task, void *argument) {
    auto threads = *static_cast<std::size_t *>(context);
    std::vector<std::thread> team;
    for (std::size_t worker = 0; worker < threads; worker++)
        team.emplace_back([=] {
            for (auto i = worker; i < tasks; i += threads)
                task(argument, i, worker);
        });
    for (auto &thread : team)
        thread.join();
}

std::vector<float> read(const char *path) {
    std::ifstream file(path, std::ios::binary | std::ios::ate);
    auto bytes = static_cast<std::streamoff>(file.tellg());
    std::vector<float> floats(bytes > 0 ? static_cast<std::size_t>(bytes) / sizeof(float) : 0);
    file.seekg(0);
    file.read(reinterpret_cast<char *>(floats.data()), static_cast<std::streamsize>(floats.size() * sizeof(float)));
    return floats;
}

} // namespace

int main(int argc, char **argv) {
    std::size_t threads = argc > 2 ? std::strtoul(argv[2], nullptr, 10) : 1;
    auto images = argc > 1 ? read(argv[1]) : std::vector<float>{};
    if (images.empty() || threads == 0) {
        std::cerr << "usage: " << argv[0] << " IMAGES [THREADS]\n";
        return 1;
    }
    auto n = images.size() / RESNET_IN_IMAGES_ELEMENTS;
    std::vector<float> logits(n * RESNET_OUT_LOGITS_ELEMENTS);
    auto memory = workspaces(threads);
    int code = resnet_run_batch(images.data(), logits.data(), n, memory.get(), parallel_for, &threads);
    if (code != RESNET_OK)
        return code;
    for (auto row = logits.begin(); row != logits.end(); row += RESNET_OUT_LOGITS_ELEMENTS)
        std::cout << std::max_element(row, row + RESNET_OUT_LOGITS_ELEMENTS) - row << '\n';
}
